"""A few steps under torch's own profiler: the sample, and what it must not disturb."""

from pathlib import Path
from typing import Any

import pytest

from training.deployment import Deployment, Run, total

# Linear layers alone: the profiler knows all that the hook counts, and nothing else.
PRELUDE = """
import atexit, json, os, sys, threading
import torch
from torch import nn
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
rows = torch.randn(3, 8)
def step():
    loss = model(rows).sum()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    sys.stdout.write(json.dumps({"loss": loss.item().hex()}) + "\\n")
    sys.stdout.flush()
def train(steps):
    for _ in range(steps):
        step()
def profiled(steps):
    from torch.profiler import ProfilerActivity, profile
    with profile(activities=[ProfilerActivity.CPU], with_flops=True) as theirs:
        train(steps)
    return sum(event.flops or 0 for event in theirs.events())
def running():
    from torch.autograd import profiler
    return profiler._is_profiler_enabled
"""
STEP = 2 * (2 * 3 * 8 * 16 + 3 * 3 * 16 * 4)  # forward; of weights; of inputs but first


def sampled(deployed: Deployment, program: str, **environment: str) -> Run:
    """Run a program with sampling on; it must succeed and keep quiet."""
    run = deployed.run(
        *("-W", "error", "-c", PRELUDE + program),
        timeout=120,
        **{"FLOPGUARD_PROFILER": "Sample", **environment},
    )
    assert run.code == 0, run.stderr[-3_000:]
    assert "flopguard" not in run.stderr
    return run


def fact(run: Run) -> dict[str, Any]:
    """Return what the only process says of its sample."""
    (facts,) = run.facts
    said: dict[str, Any] = facts.get("profiler", {})
    return said


def test_linear_layers_cost_the_same_by_either(deployed: Deployment) -> None:
    """Two steps are sampled; without a GPU, both counts are the same number."""
    run = sampled(deployed, "train(14)")

    assert run.stderr == "", "torch's profiler writes there what it does"
    assert fact(run) == {
        "steps": 2,
        "flops": str(2 * STEP),
        "hook_flops": str(2 * STEP),
        "by_element": "0",
    }


def test_nothing_is_sampled_unless_it_is_asked_for(deployed: Deployment) -> None:
    """Off by default: no fact, and torch's profiler is as torch made it."""
    program = """
train(14)
from torch.autograd import profiler
assert profiler._prepare_profiler.__module__ != "flopguard_hook.profiling"
assert "flopguard_hook.profiling" not in sys.modules
"""
    assert fact(sampled(deployed, program, FLOPGUARD_PROFILER="")) == {}


def test_a_sample_changes_neither_losses_nor_counts(tmp_path: Path) -> None:
    """Bit by bit, with sampling and without."""
    runs = []
    for wish in ("Sample", "Off"):
        folder = tmp_path / wish
        folder.mkdir()
        deployment = Deployment(folder)
        runs.append(sampled(deployment, "train(14)", FLOPGUARD_PROFILER=wish))

    with_it, without = runs
    assert with_it.steps == without.steps
    assert with_it.page.done == without.page.done
    assert "flops" in fact(with_it)
    assert fact(without) == {}


OWN_PROFILERS = {
    "before any sample": "assert profiled(4) >= 4 * STEP",
    "in the middle of a sample": """
while not running():
    step()
assert profiled(2) >= 2 * STEP
""",
    "with a schedule, between its warm-up and its steps": """
from torch.profiler import ProfilerActivity, profile, schedule
seen = []
plan = schedule(wait=5, warmup=6, active=1)
activities = [ProfilerActivity.CPU]
with profile(activities=activities, schedule=plan, with_flops=True,
    on_trace_ready=lambda p: seen.append(sum(e.flops for e in p.events()))) as theirs:
    for _ in range(12):
        step()
        theirs.step()
assert seen and seen[0] >= STEP, seen
""",
    "of another thread": """
alone, bare = threading.Lock(), step
def step():
    with alone:  # both train one model
        bare()
while not running():
    step()
found = []
other = threading.Thread(target=lambda: found.append(profiled(1)))
other.start()
while other.is_alive():
    train(1)
other.join()
assert found, "their profiler failed"
""",
    "by the old name": """
while not running():
    step()
with torch.autograd.profiler.profile() as theirs:
    step()
assert len(theirs.function_events) > 10
""",
}


@pytest.mark.parametrize("program", OWN_PROFILERS.values(), ids=OWN_PROFILERS)
def test_the_programs_own_profiler_goes_first(
    deployed: Deployment, program: str
) -> None:
    """Ours ends at once, says why, does not come back, and is not in theirs."""
    after = "\ntrain(9)\nassert profiled(2) >= 2 * STEP\nassert not running()\n"

    run = sampled(deployed, f"STEP = {STEP}\n{program}{after}")

    assert fact(run) == {"skipped": "the program has a profiler of its own"}


ENDS = {
    "by falling off the end": "",
    "by sys.exit": "sys.exit(0)",
    "with its thread": """
def loop():
    while not running():
        step()
other = threading.Thread(target=loop)
other.start()
other.join()
assert not running(), "the sample outlived its thread"
assert profiled(2) >= 2 * STEP
""",
    "while a daemon thread is sampled": """
def loop():
    while not running():
        step()
    waiting.set()
    threading.Event().wait()
waiting = threading.Event()
threading.Thread(target=loop, daemon=True).start()
assert waiting.wait(60)
""",
}

UNTIL_SAMPLING = "while not running():\n    step()\n"


@pytest.mark.parametrize("program", ENDS.values(), ids=ENDS)
def test_a_program_may_end_in_the_middle_of_a_sample(
    deployed: Deployment, program: str
) -> None:
    """Torch crashes at the exit of a process whose profiler runs: ours is stopped."""
    start = "" if "loop" in program else UNTIL_SAMPLING

    run = sampled(deployed, f"STEP = {STEP}\n{start}{program}")

    assert "Leaked callback" not in run.stderr


def test_a_fork_in_the_middle_of_a_sample(deployed: Deployment) -> None:
    """The sample is given up for the fork; parent and child sample again."""
    program = f"""
{UNTIL_SAMPLING}
child = os.fork()
assert not running()
train(14)
if not child:
    atexit._run_exitfuncs()
    os._exit(7)  # as multiprocessing's children end: docs/injection.md says why
assert os.waitpid(child, 0)[1] == 7 << 8
"""
    run = sampled(deployed, program)

    said = [facts["profiler"] for facts in run.facts]
    assert [each.get("flops") for each in said] == [str(2 * STEP)] * 2


def test_an_evaluation_in_the_middle_of_a_sample(deployed: Deployment) -> None:
    """What is listed is bounded: the sample is given up, and a later one kept."""
    program = f"""
{UNTIL_SAMPLING}
for _ in range(40):
    with torch.no_grad():
        model(rows)
assert not running()
train(14)
"""
    assert fact(sampled(deployed, program))["flops"] == str(2 * STEP)


def test_nothing_is_sampled_where_everything_is_measured(
    deployed: Deployment,
) -> None:
    """A measured operator is listed twice: without replay there is no sample."""
    run = sampled(deployed, "train(14)", FLOPGUARD_REPLAY="Off")

    assert fact(run) == {}
    assert total(run.page.done)["forward"] > 0


def test_what_the_profiler_does_not_know_is_named(deployed: Deployment) -> None:
    """Attention in one kernel has no cost there; products by element have one."""
    program = """
class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 8)
    def forward(self, rows):
        rows = self.first(rows).reshape(1, 2, -1, 4) * 2
        return nn.functional.scaled_dot_product_attention(rows, rows, rows)
model = Attending()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
rows = torch.randn(6, 8)
train(14)
"""
    said = fact(sampled(deployed, program))

    assert int(said["by_element"]) > 0
    assert int(said["flops"]) - int(said["by_element"]) < int(said["hook_flops"])
    assert any("scaled_dot_product" in name for name in said["unpriced"])


def test_a_compiled_model_is_not_compiled_anew(deployed: Deployment) -> None:
    """A sample of compiled code causes no recompilation."""
    program = """
model = torch.compile(model, backend="aot_eager")
train(14)
from torch._dynamo.utils import counters
assert counters["stats"]["unique_graphs"] == 1, counters["stats"]
"""
    run = deployed.run("-c", PRELUDE + program, FLOPGUARD_PROFILER="Sample")
    assert run.code == 0, run.stderr[-3_000:]
    assert fact(run)["hook_flops"] == str(2 * STEP)
