"""Compiled graphs against the eager count: no FLOP more or less, nothing twice.

The programs run in processes of their own, with a cache of their own: cold, then warm,
then without the hook.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from training.deployment import ROOT, Deployment
from training.deployment import total as categories

PROGRAM = Path(__file__).with_name("compiling.py")
MATRICES = 2 * 5 * (8 * 16 + 16 * 8 + 8 * 4)  # of five rows

WINDOWS = ("measured", "replayed", "state")
BACKWARDS = Path(__file__).with_name("compiled_backwards.py")

# Run operator by operator, so windows alone say what is forward. It is traced once in a
# window that is measured, and once more in one that is replayed.
TRACED = """
import sys, torch
from torch import nn
how = sys.argv[1]
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
if how == "layers":
    for layer in model:
        layer.compile(backend="aot_eager")
step = torch.compile(model, backend="aot_eager") if how == "whole" else model
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for i in range(12):
    if i == 8:
        torch.compiler.reset()
    out = step(torch.ones(3, 8))
    (out @ out.T).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
"""

Lines = dict[str, dict[str, Any]]


def run(cache: Path, *arguments: str, program: Path = PROGRAM) -> Lines:
    """Run programs; return what each printed, by name."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'sidecar'}:{ROOT / 'tests'}",
        "TORCHINDUCTOR_CACHE_DIR": str(cache),
        "TORCHINDUCTOR_FX_GRAPH_CACHE": "1",  # the default since torch 2.5
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, program, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert "flopguard:" not in done.stderr
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    return {line.pop("name"): line for line in printed}


NAMES = (
    "fixed",
    "dynamic",
    "recomputed",
    "no_grad",
    "regional",
    "broken",
    "steps",
    "own_step",
    "fused_step",
    "other_backends",
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for what inductor compiled."""
    return tmp_path_factory.mktemp("inductor")


@pytest.fixture(scope="module")
def cold(cache: Path) -> Lines:
    """Return what the programs cost when everything is compiled."""
    return run(cache, *NAMES)


@pytest.fixture(scope="module")
def bare(cache: Path, cold: Lines) -> Lines:
    """Return what a process without the hook does with the same cache, and more."""
    assert cold
    return run(cache, "--without-hook", *NAMES, "alone")


@pytest.fixture(scope="module")
def warm(cache: Path, bare: Lines) -> Lines:
    """Return what the programs cost when nothing has to be compiled."""
    assert bare
    return run(cache, "fixed", "dynamic", "recomputed", "no_grad", "alone")


def total(flops: dict[str, int]) -> int:
    """Return the sum."""
    return sum(flops.values())


@pytest.mark.parametrize("name", ["fixed", "dynamic", "regional", "broken"])
def test_forward_and_backward_equal_the_eager_count(name: str, cold: Lines) -> None:
    """In each direction, with what is dispatched outside of the graphs."""
    line = cold[name]

    found = {
        role: line["charged"].get(role, 0) + line["dispatched"].get(role, 0)
        for role in ("forward", "backward")
    }

    assert found == line["eager"]
    assert line["charged"].keys() == {"forward", "backward"}
    assert line["uncounted"] == []


def test_nothing_in_a_graph_is_counted_twice(cold: Lines) -> None:
    """The whole model is one graph: nothing is dispatched beside it."""
    assert cold["fixed"]["dispatched"] == {}
    assert cold["fixed"]["charged"]["forward"] == MATRICES
    assert cold["regional"]["dispatched"] != {}


def test_what_is_run_again_is_recomputed(cold: Lines) -> None:
    """Not backward, though it is a part of the backward graph.

    Eager runs each block's first product again; inductor one more, as dispatch sees.
    """
    line, product = cold["recomputed"], 2 * 5 * 8 * 16

    assert line["charged"] == {
        "forward": MATRICES + 2 * product,
        "backward": line["eager"]["backward"] - 2 * product,
        "recompute": 3 * product,
    }
    assert line["hidden"] == total(line["charged"])


def test_gradients_off_when_compiled_is_no_grad(cold: Lines) -> None:
    """Also in a graph that has no backward: the grad mode decides."""
    charged = cold["no_grad"]["charged"]

    assert charged == {"no_grad": MATRICES, "forward": 2 * 3 * 2 * 3}


def test_a_compiled_step_is_charged_by_its_formula(cold: Lines) -> None:
    """Two groups are one step; a parameter without gradient does not count."""
    line = cold["steps"]

    assert line["steps"] == 1
    assert line["charged"] == {"optimizer": 8 * 16 * 2 + 16 * 8 * 5}


def test_a_compiled_step_of_an_unknown_class_is_charged_as_adamw(cold: Lines) -> None:
    """And named, though dynamo sees no state being made."""
    line = cold["own_step"]

    assert line["steps"] == 1
    assert line["charged"] == {"optimizer": 13 * (8 * 16 + 16 * 8 + 8 * 4)}
    assert set(line["uncounted"]) == {"torch.optim::Plain"}


def test_a_step_that_runs_between_compiled_frames_is_named(cold: Lines) -> None:
    """No graph has it: it is not charged."""
    line = cold["fused_step"]

    assert line["charged"] == {}
    assert line["uncounted"] == ["torch.optim::AdamW"]


def test_backends_that_are_not_inductor_are_left_to_dispatch(cold: Lines) -> None:
    """They run the operators themselves."""
    line = cold["other_backends"]

    assert line["charged"] == {}
    assert line["dispatched"] == line["eager"]


def test_what_is_traced_of_a_backward_opens_no_window(tmp_path: Path) -> None:
    """A model that is compiled is a root like another; so is one whose layers are."""
    found = {}
    for how in ("eager", "whole", "layers"):
        (tmp_path / how).mkdir()
        done = Deployment(tmp_path / how).run("-W", "ignore", "-c", TRACED, how)
        assert done.code == 0, done.stderr
        windows = {name: done.facts[0]["replay"][name] for name in WINDOWS}
        found[how] = (categories(done.page.done), windows)

    assert found["whole"] == found["eager"]
    assert found["layers"] == found["eager"]
    assert found["eager"][0]["forward"] == 12 * 2 * 3 * (8 * 16 + 16 * 4 + 3 * 4)


@pytest.mark.parametrize("name", ["fixed", "dynamic", "recomputed", "no_grad"])
def test_a_warm_cache_is_charged_the_same(
    name: str, cold: Lines, bare: Lines, warm: Lines
) -> None:
    """Nothing is compiled in the second process, but the figure is stored with it."""
    assert warm[name]["charged"] == cold[name]["charged"]
    assert warm[name]["uncounted"] == []
    # Not every torch stores every graph: not with the hook where not without.
    assert warm[name]["stored"] == bare[name]["stored"]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_compiled_more_often_or_apart(
    name: str, cold: Lines, bare: Lines
) -> None:
    """No graph break and no recompilation; what the hook stored loads without it."""
    for key in ("graphs", "frames", "breaks"):
        assert bare[name][key] == cold[name][key], key
    assert bare["fixed"]["stored"] > 0


def test_what_was_stored_without_a_figure_is_traced_and_completed(
    warm: Lines, cache: Path
) -> None:
    """By the first process with the hook: it finds both graphs, and compiles none.

    The second has all from the cache, as if the hook had always been there.
    """
    first, second = warm["alone"], run(cache, "alone")["alone"]

    assert first["stored"] == 2
    assert (second["stored"], second["missing"]) == (warm["fixed"]["stored"], 0)
    for line in (first, second):
        assert line["uncounted"] == []
        assert line["charged"] == line["eager"]
        assert line["dispatched"] == {}


@pytest.mark.parametrize(
    "backend",
    ["eager", "aot_eager", pytest.param("inductor", marks=pytest.mark.full)],
)
def test_a_compiled_backward_is_told_from_what_it_runs_again(
    backend: str, tmp_path: Path
) -> None:
    """Compiled autograd makes a module of a backward: it is no forward run again.

    Before torch 2.8 it raises under any dispatch mode: it is named, not counted.
    """
    variables = {
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor"),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
    }
    found = []
    for name in ("", backend):
        folder = tmp_path / f"run-{name}"
        folder.mkdir()
        command = ("-W", "ignore", str(BACKWARDS), name)
        done = Deployment(folder).run(*command, timeout=240, **variables)
        assert done.code == 0, done.stderr
        found.append(categories(done.page.done))

    if torch.__version__ < (2, 8):
        (unknown,) = done.facts[0]["unknown_operators"]
        assert unknown == {"operator": "autograd::compiled", "calls": 4}
        assert found[1] == {**found[0], "backward": 0, "recompute": 0}
        return
    assert done.page.errors == ()
    assert found[0] == found[1]
    assert found[0]["forward"] == 4 * MATRICES
    assert found[0]["recompute"] == 4 * 2 * 5 * 8 * 16
