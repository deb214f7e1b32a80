"""A slice of `make fuzz-hook`: other seeds than its own, each failure told."""

import json
from pathlib import Path

import pytest

from fuzz import __main__ as fuzzing
from fuzz import programs, report
from fuzz.cases import Verdict, is_fresh, judge
from fuzz.fresh import draw
from fuzz.outcome import differences, outcome
from fuzz.pages import Counted, miscounted
from fuzz.serving import run_all

FIRST = 100_000
FORKED, FRESH = 150, 20
# Each found something once: layers changed in mid-run, a finder that was asked twice,
# inference that rounded otherwise, a tensor that became one of a subclass.
FOUND = (
    5,
    469,
    1029,
    1128,
    1135,
    1198,
    1212,
    1276,
    1318,
    1430,
    1444,
    1488,
    2937,
    3299,
    4170,
)


def _slice() -> list[int]:
    """Return seeds that need neither transformers nor, but for two, torch anew."""
    forked: list[int] = []
    fresh: list[int] = []
    real: list[int] = []
    for seed in range(FIRST, FIRST + 2000):
        if is_fresh(seed):
            (real if draw(seed).torch == "real" else fresh).append(seed)
        elif not programs.needs_language(programs.draw(seed)):
            forked.append(seed)
    return [*FOUND, *real[:2], *fresh[: FRESH - 2], *forked[:FORKED]]


@pytest.mark.timeout(600)
def test_random_programs_are_the_same_with_the_hook(tmp_path: Path) -> None:
    """Exit code, output, files, lifetimes and counts of 180 programs."""
    hook = fuzzing.snapshot(tmp_path)

    verdicts = list(run_all(_slice(), hook, workers=2))

    assert len(verdicts) == len(FOUND) + FORKED + FRESH
    wrong = [v for v in verdicts if v.found or v.miscounts or v.unsteady]
    assert wrong == [], "\n".join(report.verdict_in_words(v) for v in wrong)
    counted = sum(bool(verdict.flops) for verdict in verdicts)
    assert counted > FORKED / 2, "most programs multiply, so most pages show FLOPs"


def test_a_hook_that_prints_is_found(tmp_path: Path) -> None:
    """A hook that changes what a program prints is not missed."""
    hook = fuzzing.snapshot(tmp_path)
    with (hook / "arming.py").open("a") as source:
        source.write("\nimport sys\nsys.stdout.write('hello')\n")

    verdict = judge(_fresh_seed(), hook)

    assert any(sentence.startswith("stdout: ") for sentence in verdict.found)


def _fresh_seed() -> int:
    """Return the seed of a fresh program that runs the stand-in plainly."""
    return next(
        seed
        for seed in range(FIRST, FIRST + 10_000)
        if is_fresh(seed)
        and draw(seed)._replace(program="plain") == draw(seed)
        and (draw(seed).torch, draw(seed).start) == ("stand-in", "python FILE")
        and not (draw(seed).closed or draw(seed).extra or draw(seed).site)
    )


def test_less_may_be_counted_only_where_a_program_says_so() -> None:
    """What it multiplies outside of modules once; never more than there was."""
    replayed = Counted({"forward fp32": 8, "no_grad fp32": 8}, (), [], [])
    always = Counted({"forward fp32": 9, "no_grad fp32": 7}, (), [], [])

    both = ["forward fp32: 8 instead of 9", "no_grad fp32: 8 instead of 7"]
    assert miscounted(replayed, always) == both
    assert miscounted(replayed, always, frozenset({"forward", "no_grad"})) == both[1:]


def test_seeds_that_failed_are_judged_again() -> None:
    """Their newer verdict takes the place of the first, and the page names them."""
    right = Verdict(3, "fresh", "plain", [], [], [], [], 8, [], 1.0)
    wrong = right._replace(found=["exit code 0 became 1"])
    summary = report.summarize([wrong, right._replace(seed=4)], 2.0, workers=1)

    mended = report.mended(summary, [right])

    assert (summary["differ"], summary["failed"]) == (1, [3])
    assert (mended["differ"], mended["failed"], mended["failures"]) == (0, [], [])
    assert mended["run_again"] == [3]
    assert mended["cases"] == 2


def test_outcomes_differ_in_every_part() -> None:
    """Exit code, each stream and each file; not in addresses and library frames."""
    before = outcome(0, "loss 0x1.8p+1\nat 0x7fffffffaa", "", {"a": "1"})
    library = '  File "/x/torch/a.py", line 1, in f\n    f()'
    same = outcome(0, "loss 0x1.8p+1\nat 0x7fffffffbb", library, {"a": "1"})
    other = outcome(1, "loss 0x1.9p+1\nat 0x7fffffffaa", "Oh", {"a": "2", "b": "3"})

    assert differences(before, same) == []
    assert [s.split(":")[0] for s in differences(before, other)] == [
        "exit code 0 became 1",
        "stdout",
        "stderr",
        "file a",
        "file b",
    ]


def test_the_report_names_every_failed_seed() -> None:
    """A summary is JSON and says how to run a failure again."""
    good = Verdict(1, "forked", "mlp: train", [], [], [], [], 16, [], 0.1)
    bad = good._replace(seed=2, found=["exit code 0 became 1"])

    summary = report.summarize([good, bad], 3.4, workers=2)

    assert json.loads(json.dumps(summary))["failed"] == [2]
    assert "python -m fuzz --seed 2" in report.in_words(summary)
