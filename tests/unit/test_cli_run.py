"""`flopguard run`: real processes and ledgers, and a trainer that tells the truth."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flopguard_operator.ledger.entries import (
    AttemptOpened,
    Crossing,
    HoldProven,
    HoldReleased,
    HoldSet,
    TermsSet,
)
from flopguard_operator.policy.terms import BaseModel
from robustness.counter import STEP
from standins.local_runs import (
    LIMIT_SECONDS,
    Laptop,
    Truth,
    environment,
    flopguard,
    kill,
    pids_of,
)
from standins.sidecars import wait_for

PYTHON = sys.executable
BUDGET = 40 * STEP
# Counts one operator's worth by the hook's own session, then does as it is told.
COUNTS = (
    "import os, signal, sys\n"
    "from flopguard_hook.session import Session\n"
    "session = Session(os.environ['FLOPGUARD_DIR'])\n"
    "session.begin(((0, 1000),))\n"
    "session.finish(((0, 1000),))\n"
    "session.close()\n"
)
DEAF = (
    "import os, signal, sys\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "os.execv(sys.argv[1], sys.argv[1:])\n"
)
LAUNCHES = (
    "import signal, subprocess, sys\n"
    "for _ in range(3):\n"
    "    subprocess.Popen(sys.argv[1:], start_new_session=True)\n"
    "signal.pause()\n"
)


@pytest.fixture
def laptop(tmp_path: Path) -> Laptop:
    """Return a machine that has never run anything."""
    return Laptop(tmp_path / "state")


@pytest.fixture
def truth(tmp_path: Path) -> Truth:
    """Return what trainers will say that they did."""
    folder = tmp_path / "truth"
    folder.mkdir()
    return Truth(folder)


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        pytest.param("", 0, id="well"),
        pytest.param("sys.exit(7)", 7, id="with a code of its own"),
        pytest.param("os.kill(os.getpid(), signal.SIGKILL)", 137, id="by a signal"),
    ],
)
def test_a_command_keeps_its_exit_code_and_is_counted(
    laptop: Laptop, ends: str, code: int
) -> None:
    """However it ends, its total is in the ledger, and its start's folder is gone."""
    done = laptop.run("--max-flops", "1e6", then=[PYTHON, "-c", COUNTS + ends])

    assert done.returncode == code, done.stderr
    (mark,) = laptop.account().streams.values()
    assert (mark.measured, mark.begun, mark.final) == (1000, 1000, True)
    assert not list((laptop.state / "starts").iterdir())
    assert "NOT METERED" not in done.stderr


def test_at_the_budget_the_command_is_stopped_and_none_is_started_again(
    laptop: Laptop, truth: Truth
) -> None:
    """Warned on the way, stopped at it, refused after it, let go by a higher one."""
    first = laptop.run("--max-flops", str(BUDGET), then=truth.trainer())
    spent = laptop.account()
    second = laptop.run(then=truth.trainer())

    assert first.returncode == 124, first.stderr
    for sentence in ("50 % of the budget", "80 % of the budget", "gets SIGTERM now"):
        assert sentence in first.stderr
    assert spent.proven is not None
    assert spent.proven.overshoot == spent.proven.upper - BUDGET
    (mark,) = spent.streams.values()
    assert truth.least <= mark.measured <= mark.begun <= truth.most
    assert mark.final
    assert second.returncode == 123
    assert "Start again with --max-flops above" in second.stderr
    assert laptop.account().streams == spent.streams, "the second was started"

    raised = 2 * spent.proven.upper
    third = laptop.run("--max-flops", str(raised), then=truth.trainer())

    assert third.returncode == 124, third.stderr
    events = [entry.event for entry in laptop.entries()]
    holds = [type(e) for e in events if isinstance(e, HoldSet | HoldProven)]
    assert holds == [HoldSet, HoldProven] * 2
    assert sum(isinstance(e, HoldReleased) for e in events) == 1
    causes = [e.cause for e in events if isinstance(e, AttemptOpened)]
    assert causes == ["Started", "Resumed"]
    total = sum(mark.measured for mark in laptop.account().streams.values())
    assert truth.least <= total <= truth.most


def test_a_command_that_ignores_sigterm_is_killed_after_the_grace(
    laptop: Laptop, truth: Truth
) -> None:
    """Nobody outlives a limit by not listening."""
    deaf = [PYTHON, "-c", DEAF, *truth.trainer()]
    done = laptop.run("--max-flops", str(BUDGET), "--grace", "0.2", then=deaf)

    assert done.returncode == 124, done.stderr
    assert not pids_of(truth)
    assert laptop.account().proven is not None


def test_what_the_policy_does_not_count_is_not_told_as_used(laptop: Laptop) -> None:
    """Recomputation: in the upper bound, and no part of the third that governs."""
    recompute = COUNTS.replace("(((0, 1000),))", "(((0, 10), (16, 1000)))")
    words = ["--base", "acme/base", "--base-flops", "3000", "--policy"]
    done = laptop.run(
        *words, "commission-guidelines-2025", then=[PYTHON, "-c", recompute]
    )
    (known,) = laptop.status()

    assert done.returncode == 0, done.stderr
    assert (known["upper"], known["used"], known["limit"]) == ("1010", "10", "1000")
    assert known["percent"] == "1.00"


def test_what_torchrun_would_do_is_counted_and_stopped_whole(
    laptop: Laptop, truth: Truth
) -> None:
    """Workers in sessions of their own, left alone by a launcher that just dies."""
    launcher = [PYTHON, "-c", LAUNCHES, *truth.trainer()]
    done = laptop.run("--max-flops", str(BUDGET), "--grace", "0.2", then=launcher)

    assert done.returncode == 124, done.stderr
    assert not pids_of(truth)
    (mark,) = laptop.account().streams.values()
    assert mark.pages == 3
    assert truth.least <= mark.measured <= mark.begun <= truth.most


def test_ctrl_c_reaches_the_command_and_what_it_did_is_settled(
    laptop: Laptop, truth: Truth
) -> None:
    """It ends itself only after it has settled."""
    with laptop.running(then=truth.trainer()) as process:
        wait_for("the trainer to make steps", lambda: truth.least > 5 * STEP)
        process.send_signal(signal.SIGINT)
        process.wait(LIMIT_SECONDS)

    assert process.returncode == 130
    (mark,) = laptop.account().streams.values()
    assert mark.final
    assert truth.least <= mark.measured <= mark.begun <= truth.most


def test_a_killed_flopguard_loses_nothing_and_counts_nothing_twice(
    laptop: Laptop, truth: Truth
) -> None:
    """The command goes on, uncontrolled but counted; the next start settles it."""
    with laptop.running("--max-flops", "1e20", then=truth.trainer()) as process:
        wait_for("the trainer to make steps", lambda: truth.least > 5 * STEP)
        process.kill()
        process.wait()
    try:
        before = truth.least
        wait_for("the trainer to go on", lambda: truth.least > before + 5 * STEP)
        (known,) = laptop.status()
        assert known["state"] == "Unattended"
        assert int(known["upper"]) >= before
    finally:
        truth.stop()
    wait_for("the trainer to end", lambda: not pids_of(truth))
    assert laptop.status()[0]["state"] == "Unsettled"

    done = laptop.run(then=[PYTHON, "-c", COUNTS])

    assert done.returncode == 0, done.stderr
    account = laptop.account()
    assert sum(mark.measured for mark in account.streams.values()) == truth.least + 1000
    assert all(mark.final for mark in account.streams.values())
    assert laptop.status()[0]["state"] == "Idle"


def test_what_a_killed_flopguard_left_running_is_ended_at_the_limit(
    laptop: Laptop, truth: Truth
) -> None:
    """The next start that finds the budget spent ends it, and proves the hold."""
    with laptop.running("--max-flops", "1e20", then=truth.trainer()) as process:
        wait_for("the trainer to make steps", lambda: truth.least > 5 * STEP)
        process.kill()
        process.wait()
    try:
        done = laptop.run("--max-flops", str(STEP), then=truth.trainer())

        assert done.returncode == 123, done.stderr
        assert "still runs and is ended" in done.stderr
        assert not pids_of(truth)
    finally:
        kill(pids_of(truth))
    account = laptop.account()
    (mark,) = account.streams.values()
    assert truth.least <= mark.measured <= mark.begun <= truth.most
    assert account.proven is not None


def test_starts_at_once_share_a_total_and_a_lower_budget_stops_them_all(
    laptop: Laptop, truth: Truth
) -> None:
    """Each follows what the newest start said of the program."""
    other = Truth(truth.folder / "other")
    with (
        laptop.running("--max-flops", "1e20", then=truth.trainer()) as first,
        laptop.running(then=other.trainer()) as second,
    ):
        wait_for("the first to make steps", lambda: truth.least > STEP)
        wait_for("the second to make steps", lambda: other.least > STEP)
        third = laptop.run("--max-flops", str(STEP), then=truth.trainer())
        codes = [process.wait(LIMIT_SECONDS) for process in (first, second)]

    assert codes == [124, 124]
    assert third.returncode == 123
    account = laptop.account()
    assert len(account.streams) == 2
    assert account.proven is not None
    assert truth.least + other.least <= account.proven.upper
    assert account.proven.upper <= truth.most + other.most


def test_a_python_that_ignores_the_hook_is_told_loudly_and_recorded(
    laptop: Laptop,
) -> None:
    """`python -I` takes no PYTHONPATH: the attempt is in the ledger, without a page."""
    done = laptop.run(then=[PYTHON, "-I", "-c", "print('trained')"])

    assert done.returncode == 0
    assert "NOT METERED: no process of the command counted anything" in done.stderr
    assert done.stdout == "trained\n"
    account = laptop.account()
    (mark,) = account.streams.values()
    assert (mark.pages, mark.measured, mark.final) == (0, 0, True)
    assert len(account.attempts) == 1


def test_a_sidecar_that_is_killed_costs_nothing(laptop: Laptop, truth: Truth) -> None:
    """It is started anew, and the pages have kept the count."""
    with laptop.running("--max-flops", str(BUDGET), then=truth.trainer()) as process:
        wait_for("the trainer to make steps", lambda: truth.least > 3 * STEP)
        sidecars = subprocess.run(
            ["pgrep", "-P", str(process.pid), "-f", "flopguard_sidecar serve"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.split()
        kill([int(pid) for pid in sidecars])
        process.wait(LIMIT_SECONDS)

    assert sidecars
    assert process.returncode == 124
    (mark,) = laptop.account().streams.values()
    assert truth.least <= mark.measured <= mark.begun <= truth.most


def test_a_program_keeps_what_its_first_start_said(laptop: Laptop) -> None:
    """Base model and budget are given once; a changed figure is an entry of its own."""
    base = ("--base", "acme/base", "--base-flops", "2e23", "--base-source", "card")
    command = [PYTHON, "-c", COUNTS]
    laptop.run("--max-flops", "1e6", "--warn-at", "10,20", *base, then=command)
    laptop.run(then=command)
    laptop.run("--base-flops", "3e23", then=command)
    other = laptop.run("--base", "acme/other", then=command)

    assert other.returncode == 2
    assert 'this program adapts "acme/base"' in other.stderr
    noted = [e.event for e in laptop.entries() if isinstance(e.event, TermsSet)]
    assert [terms.generation for terms in noted] == [1, 2]
    assert noted[0].terms.base == BaseModel("acme/base", 2 * 10**23, "card")
    assert [terms.limit for terms in noted] == [str(6 * 10**22), str(9 * 10**22)]
    assert noted[1].terms.budget == noted[0].terms.budget


def test_progress_and_warnings_can_be_read_by_programs(
    laptop: Laptop, truth: Truth
) -> None:
    """Every line on standard error is an object; the last ones say how it ended."""
    done = laptop.run("--json", "--max-flops", str(BUDGET), then=truth.trainer())

    told = [json.loads(line) for line in done.stderr.splitlines()]
    kinds = [each["event"] for each in told]
    assert {"progress", "warning", "stopping", "ended", "held"} <= set(kinds)
    ended = told[kinds.index("ended")]
    assert int(ended["upper"]) >= BUDGET
    assert int(ended["overshoot"]) == int(ended["upper"]) - BUDGET


@pytest.mark.parametrize(
    ("command", "given", "code", "sentence"),
    [
        pytest.param(["/absent/python"], {}, 127, "is not there", id="no such file"),
        pytest.param([__file__], {}, 126, "not executable", id="no program"),
        pytest.param(
            [PYTHON], {"FLOPGUARD_DIR": "/x"}, 125, "metered already", id="in a pod"
        ),
    ],
)
def test_what_cannot_be_started_says_why(
    laptop: Laptop,
    command: list[str],
    given: dict[str, str],
    code: int,
    sentence: str,
) -> None:
    """In a line, before anything is in the ledger."""
    done = subprocess.run(
        [*laptop.command(), *command],
        env=environment() | given,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_SECONDS,
    )

    assert done.returncode == code
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not laptop.state.exists()


def test_without_its_key_a_ledger_is_not_gone_on_with(laptop: Laptop) -> None:
    """A new key would make another ledger of it: that is for a person to decide."""
    command = [PYTHON, "-c", COUNTS]
    laptop.run(then=command)
    (laptop.state / "ledger.key").unlink()

    done = laptop.run(then=command)

    assert done.returncode == 125
    assert "put it back, or begin anew with another --state" in done.stderr


def test_state_and_key_are_private_and_the_other_commands_work_on_it(
    laptop: Laptop,
) -> None:
    """Verified with the published key, report and show: with no change."""
    laptop.run("--max-flops", "1500", then=[PYTHON, "-c", COUNTS])
    ledger, vkey = laptop.state / "ledger.db", laptop.state / "ledger.vkey"

    for command in (
        ["verify", str(ledger), "--vkey", vkey.read_text().strip()],
        ["report", "--ledger", str(ledger), "--run", "local/p"],
        ["ledger", "show", str(ledger)],
        ["ledger", "check", "--db", str(ledger)],
    ):
        flopguard(*command)
    crossings = [e.event for e in laptop.entries() if isinstance(e.event, Crossing)]
    assert [crossing.percent for crossing in crossings] == [50]
    assert laptop.state.stat().st_mode & 0o777 == 0o700
    assert (laptop.state / "ledger.key").stat().st_mode & 0o777 == 0o600
