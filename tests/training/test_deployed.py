"""The hook as deployed, against the closed formula of what the program says it did."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from training.deployment import ROOT, Deployment, Run, total
from training.needs import TRANSFORMERS_5
from truth.closed_formula import (
    SMOLLM2,
    Llama,
    Training,
    llama_step_flops,
    mlp_step_flops,
    times,
)

EXAMPLE = ROOT / "examples" / "smollm2-lora" / "train.py"
TRAINER = ROOT / "tests" / "e2e" / "trainer.py"
PROGRAMS = Path(__file__).parent / "programs.py"

TINY = Llama(
    hidden=48, layers=3, heads=4, kv_heads=2, head_dim=16, ffn=80, vocabulary=96
)

SHORT = [str(TRAINER), "--steps", "6"]

METHODS = pytest.mark.parametrize(
    ("method", "checkpointing"),
    [
        pytest.param("lora", False, id="LoRA"),
        pytest.param("lora", True, id="LoRA with checkpointing"),
        pytest.param("full", False, id="full"),
        pytest.param("full", True, id="full with checkpointing"),
    ],
)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small random model of the example's architecture."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=TINY.hidden,
        num_hidden_layers=TINY.layers,
        num_attention_heads=TINY.heads,
        num_key_value_heads=TINY.kv_heads,
        head_dim=TINY.head_dim,
        intermediate_size=TINY.ffn,
        vocab_size=TINY.vocabulary,
        tie_word_embeddings=True,
    )
    folder = tmp_path_factory.mktemp("model")
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def arguments(model: Path, output: Path, how: Training, steps: int) -> list[str]:
    """Return the command line of the example."""
    options: dict[str, Any] = {
        "--model": model,
        "--output": output,
        "--method": "lora" if how.rank else "full",
        "--rank": how.rank or 8,
        "--batch": how.batch,
        "--length": how.length,
        "--steps": steps,
    }
    words = [str(word) for pair in options.items() for word in pair]
    return [str(EXAMPLE), *words, *(["--checkpointing"] if how.checkpointing else [])]


def assert_exact(run: Run, step: dict[str, int], steps: int) -> None:
    """Assert that a run which ended by itself was counted exactly."""
    assert run.code == 0, run.stderr
    assert [line["step"] for line in run.steps[-steps:]][-1] == run.steps[-1]["step"]
    assert total(run.page.done) == times(steps, step)
    assert run.page.done == run.page.begun
    assert (run.page.steps, run.page.closed, run.page.errors) == (steps, True, ())


@TRANSFORMERS_5
@METHODS
def test_the_example_is_counted_exactly(
    method: str,
    tiny_model: Path,
    deployed: Deployment,
    tmp_path: Path,
    *,
    checkpointing: bool,
) -> None:
    """Every category of every step equals the closed formula."""
    rank = 4 if method == "lora" else 0
    how = Training(batch=2, length=16, rank=rank, checkpointing=checkpointing)

    run = deployed.run(*arguments(tiny_model, tmp_path / "output", how, steps=3))

    assert_exact(run, llama_step_flops(TINY, how), steps=3)
    (facts,) = run.facts
    assert facts["optimizers"] == ["AdamW"]
    assert facts["models"][0]["inputs"]["input_ids"] == [2, 16]
    assert (facts["models"][0]["checkpointing"] != "none") is checkpointing


@pytest.mark.full
@pytest.mark.timeout(900)
@TRANSFORMERS_5
@METHODS
def test_smollm2_is_counted_exactly(
    method: str, deployed: Deployment, tmp_path: Path, *, checkpointing: bool
) -> None:
    """The real model, 135 million parameters, prepared from its package."""
    cache = Path.home() / ".cache" / "flopguard"
    model = cache / "smollm2-135m"
    prepare = EXAMPLE.with_name("prepare.py")
    subprocess.run([sys.executable, prepare, model], check=True, timeout=300)
    rank = 8 if method == "lora" else 0
    how = Training(batch=2, length=64, rank=rank, checkpointing=checkpointing)
    command = arguments(model, tmp_path / "output", how, steps=2)

    run = deployed.run(*command, timeout=600)

    assert_exact(run, llama_step_flops(SMOLLM2, how), steps=2)


@TRANSFORMERS_5
def test_a_run_that_resumes_writes_a_second_page(
    tiny_model: Path, deployed: Deployment, tmp_path: Path
) -> None:
    """The example goes on from its saved state; the pages add up."""
    how = Training(batch=2, length=16, rank=4)
    output = tmp_path / "output"
    deployed.run(*arguments(tiny_model, output, how, steps=2))

    second = deployed.run(*arguments(tiny_model, output, how, steps=3))

    assert [line["step"] for line in second.steps] == [3]
    assert "resumed from state-00000002.pt" in second.stderr
    assert sorted(page.steps for page in second.pages) == [1, 2]


def test_the_small_trainer_is_counted_exactly(deployed: Deployment) -> None:
    """Plain torch; its formula is the truth of the end-to-end tests."""
    sizes = [32, 48, 16, 8]
    words = [str(size) for size in sizes]

    run = deployed.run(str(TRAINER), "--steps", "5", "--batch", "4", "--sizes", *words)

    assert_exact(run, mlp_step_flops(4, sizes), steps=5)


@pytest.mark.parametrize("lines", [1, 60, 211])
def test_a_run_killed_at_any_moment_stays_within_its_bounds(
    lines: int, deployed: Deployment
) -> None:
    """formula(steps logged) ≤ measured ≤ upper ≤ formula(steps logged + 1)."""
    step = sum(mlp_step_flops(8, [64, 128, 10]).values())
    command = [sys.executable, str(TRAINER), "--steps", "1000000"]
    process = subprocess.Popen(
        command, env=deployed.environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout as stdout:
        before = [stdout.readline() for _ in range(lines)]
        process.kill()
        rest = stdout.read()
    assert process.wait(timeout=60) == -signal.SIGKILL

    run = deployed.result("".join(before) + rest, "", 0)

    logged = run.stdout.count("\n")
    measured = sum(total(run.page.done).values())
    upper = sum(total(run.page.begun).values())
    assert logged >= lines
    assert logged * step <= measured <= upper <= (logged + 1) * step
    assert not run.page.closed


def test_a_run_killed_within_a_forward_shows_what_was_done(
    deployed: Deployment,
) -> None:
    """The product before the kill is in the page, done."""
    run = deployed.run(str(PROGRAMS), "killed")

    assert run.code == -signal.SIGKILL
    assert total(run.page.done)["forward"] == 16
    assert not run.page.closed


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_every_process_has_a_page_of_its_own(method: str, deployed: Deployment) -> None:
    """A child starts from zero, so that the sum counts nothing twice."""
    run = deployed.run(str(PROGRAMS), method)

    assert run.code == 0, run.stderr
    costs = sorted(total(page.done)["forward"] for page in run.pages)
    assert costs == [16, 32, 32]
    assert len({page.nonce for page in run.pages}) == 3
    assert len({facts["pid"] for facts in run.facts}) == 3


@pytest.mark.skipif(
    torch.__version__ >= (2, 15),
    reason="from torch 2.15 on two threads may look one up",
)
def test_operators_are_looked_up_before_a_second_thread_runs(
    deployed: Deployment,
) -> None:
    """Two that do so at once made older torch raise."""
    program = (
        "import threading, torch;"
        "every = {n[6:].split('.')[0] for n in torch._C._dispatch_get_all_op_names()"
        " if n.startswith('aten::')};"
        "print(every <= vars(torch.ops.aten).keys());"
        "thread = threading.Thread(target=int); thread.start(); thread.join();"
        "print(every <= vars(torch.ops.aten).keys())"
    )

    run = deployed.run("-c", program)

    assert (run.code, run.stdout) == (0, "False\nTrue\n"), run.stderr
    assert "flopguard:" not in run.stderr


def test_workers_that_only_load_data_write_nothing(deployed: Deployment) -> None:
    """One page, of the process that multiplies."""
    run = deployed.run(str(PROGRAMS), "workers")

    assert run.code == 0, run.stderr
    assert total(run.page.done)["forward"] == 2 * 16


def test_a_compiled_model_stays_compiled(deployed: Deployment, tmp_path: Path) -> None:
    """One graph, the eager result, no failure; its figures are the next issue's."""
    cache = str(tmp_path / "inductor")  # the usual one may hold graphs without a figure
    run = deployed.run(str(PROGRAMS), "compiled", TORCHINDUCTOR_CACHE_DIR=cache)

    assert (run.code, run.stdout) == (0, "graphs 1\n"), run.stderr
    assert run.page.errors == ()
    assert "flopguard" not in run.stderr


@pytest.mark.parametrize("newest", [(99, 0), (2, 0)])
def test_an_unknown_torch_is_measured_at_every_step(
    newest: tuple[int, int], deployed: Deployment
) -> None:
    """Counted as exactly as a known one, and the facts say why it is slower."""
    sizes = [32, 48, 16, 8]
    words = ["--steps", "40", "--batch", "4", "--sizes", *map(str, sizes)]
    start = (
        "import runpy, sys; from flopguard_hook import known;"
        f"known.NEWEST = {newest}; sys.argv[1:] = {words};"
        f"runpy.run_path({str(TRAINER)!r}, run_name='__main__')"
    )

    run = deployed.run("-c", start)

    assert_exact(run, mlp_step_flops(4, sizes), steps=40)
    replay = run.facts[0]["replay"]
    is_known = newest > (2, 0)
    assert (replay["state"], replay["replayed"] > 0) == (
        ("on", True) if is_known else ("off", False)
    )
    assert is_known or "known are 2.4 to 2.0" in replay["why"]


def test_what_cannot_be_described_is_counted_all_the_same(
    deployed: Deployment,
) -> None:
    """Traced, scripted and lazy modules, and an argument whose shape raises."""
    run = deployed.run(str(PROGRAMS), "odd")

    assert (run.code, run.stdout) == (0, "fine\n"), run.stderr
    assert "flopguard:" not in run.stderr
    # The trace is checked with gradients on and off
    assert total(run.page.done)["forward"] >= 4 * 16
    assert run.page.errors == ("unknown_operator",)  # the nested product has no shape
    (unknown,) = run.facts[0]["unknown_operators"]
    assert unknown["operator"] == "aten::linear"


@pytest.fixture(scope="session")
def losses(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what the small trainer prints without the hook; with it, the same."""
    deployed = Deployment(tmp_path_factory.mktemp("pages"))
    plain = deployed.run(*SHORT, FLOPGUARD_DISABLE="1")
    hooked = deployed.run(*SHORT)
    assert (plain.code, len(plain.steps), plain.pages) == (0, 6, [])
    assert hooked.stdout == plain.stdout
    return plain.stdout


@pytest.mark.parametrize("where", ["windows", "session"])
def test_a_failing_hook_changes_nothing_of_training(
    where: str, losses: str, deployed: Deployment, tmp_path: Path
) -> None:
    """The same losses with the hook, without it, and with one that breaks half-way."""
    broken = tmp_path / "broken"
    shutil.copytree(ROOT / "sidecar" / "flopguard_hook", broken)
    source = broken / f"{where}.py"
    source.write_text(source.read_text() + PLANTED[where])

    failed = deployed.run(*SHORT, PYTHONPATH=str(broken / "bootstrap"))

    assert (failed.code, failed.stdout) == (0, losses)
    assert failed.stderr.count("the hook failed and counts no more") == 1
    assert failed.page.errors == ("hook_failed",)
    assert total(failed.page.done)["forward"] > 0


def test_a_failing_formula_costs_only_its_operator(
    losses: str, deployed: Deployment, tmp_path: Path
) -> None:
    """It is named, and everything else goes on to be counted."""
    broken = tmp_path / "broken"
    shutil.copytree(ROOT / "sidecar" / "flopguard_hook", broken)
    source = broken / "matrices.py"
    source.write_text(source.read_text() + PLANTED["matrices"])

    run = deployed.run(*SHORT, PYTHONPATH=str(broken / "bootstrap"))

    assert (run.code, run.stdout) == (0, losses)
    assert run.page.errors == ("formula_failed",)
    assert [o["operator"] for o in run.facts[0]["unknown_operators"]] == ["aten::mm"]
    assert run.page.steps == 6
    assert total(run.page.done)["backward"] > 0


# Each fails at its 20th call, in mid-training.
PLANTED = {
    "matrices": """
from flopguard_hook.formulas import FORMULAS, Formula
_calls = []
_right = FORMULAS["aten::addmm"]
def _wrong(args, kwargs):
    _calls.append(None)
    return _right.flops_of(args, kwargs) // (len(_calls) != 3)
FORMULAS["aten::addmm"] = Formula(_wrong, 1)
FORMULAS["aten::mm"] = Formula(lambda args, kwargs: _wrong([None, *args], kwargs), 0)
""",
    "windows": """
_calls = []
_right = Windows.engine_left
def _wrong(self, token):
    _calls.append(None)
    return _right(self, token // (len(_calls) != 4))
Windows.engine_left = _wrong
""",
    "session": """
_calls = []
_right = Session.finish
def _wrong(self, charges):
    _calls.append(None)
    len(_calls) // (len(_calls) != 20)
    _right(self, charges)
Session.finish = _wrong
""",
}
