"""Real architectures under torch.compile against their eager count."""

from pathlib import Path

import pytest

from training.deployment import ROOT, Deployment, total
from training.test_compiled import Lines, run

PROGRAM = Path(__file__).with_name("compiling_models.py")
BOOTSTRAP = ROOT / "sidecar" / "flopguard_hook" / "bootstrap"
DEPLOYED = Path(__file__).with_name("compiled_run.py")

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]

ALL_EQUAL = [
    "whole",
    "lengths",
    "eager_attention",
    "bfloat16",
    "max_autotune",
    "reduce_overhead",
    "layers",
    "lora",
    "gpt2",
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for what inductor compiled."""
    return tmp_path_factory.mktemp("inductor")


@pytest.mark.parametrize("name", ALL_EQUAL)
def test_training_equals_the_eager_count(name: str, cache: Path) -> None:
    """In each direction; on a CPU every product is dispatched too, but muted."""
    lines: Lines = run(cache, name, program=PROGRAM)
    line = lines[name]

    found = {
        role: line["charged"].get(role, 0) + line["dispatched"].get(role, 0)
        for role in ("forward", "backward")
    }

    assert found == line["eager"]
    assert sum(line["charged"].values()) >= line["hidden"]
    assert line["uncounted"] == []


def test_checkpointing_recomputes_what_was_compiled_to(cache: Path) -> None:
    """Not what eager would: the truth is what the kernels are seen to do."""
    line = run(cache, "checkpointed", program=PROGRAM)["checkpointed"]
    charged, eager = line["charged"], line["eager"]

    assert charged["forward"] == eager["forward"]
    assert charged["forward"] * 0.6 < charged["recompute"] < charged["forward"]
    assert sum(charged.values()) == line["hidden"]


def test_generation_equals_the_eager_count(cache: Path) -> None:
    """Prefill and each token, without gradients."""
    line = run(cache, "generation", program=PROGRAM)["generation"]

    assert line["charged"] == {"no_grad": line["eager"]["forward"]}
    assert line["dispatched"] == {}


@pytest.mark.parametrize("replay", ["On", "Off"])
@pytest.mark.parametrize("how", ["whole", "layers"])
def test_as_deployed_a_compiled_run_costs_what_an_eager_one_does(
    how: str, replay: str, tmp_path: Path
) -> None:
    """Measured or replayed; optimizer steps too; one graph, no break."""
    variables = {
        "FLOPGUARD_REPLAY": replay,
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": ":".join(map(str, (BOOTSTRAP, ROOT / "sidecar", ROOT / "tests"))),
    }
    found = []
    for name in ("eager", how):
        folder = tmp_path / name
        folder.mkdir()
        done = Deployment(folder).run(str(DEPLOYED), name, timeout=400, **variables)
        assert done.code == 0, done.stderr
        assert (done.page.errors, done.page.done) == ((), done.page.begun)
        found.append((total(done.page.done), done.page.steps))

    assert found[0] == found[1]
    assert done.steps == [{"graphs": 1, "breaks": 0}]
