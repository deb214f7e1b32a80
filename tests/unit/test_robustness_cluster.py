"""What the faults of a real cluster are judged by, without one."""

from dataclasses import replace
from pathlib import Path

import pytest

from cluster.kubectl import Kubectl
from flopguard_operator import injection
from flopguard_operator.injected import Images
from flopguard_operator.ledger.accounts import Account
from flopguard_operator.ledger.entries import AttemptOpened, GapCharged, RunRef
from flopguard_operator.marks import Mark
from robustness import campaigns, clustercampaign, podfaults, report
from robustness.crew import STEP, Crew, exact, is_closed, job
from robustness.oracle import ORACLE, total
from stage.scene import Object

RUN = RunRef("uid", "space", "run-0")
BEGUN, FINISHED = total(STEP, 3), total(STEP, 2)
OPENED = AttemptOpened(RUN, "s", "pod", "job", "", "Started", "")


def account(measured: int, begun: int, *, charged: int = 0, final: bool) -> Account:
    """Return a run with one stream, its gap closed where it has one."""
    mark = Mark("s", {"forward": measured}, begun, final=final)
    known = Account(RUN, streams={"s": mark}, attempts=(OPENED,))
    if not charged:
        return known
    gap = GapCharged(RUN, "s", "pod", "Closed", "EndedUnproven", charged, 1, "cpu", 1)
    return replace(known, gaps={"s": gap}, closed=frozenset("s"))


def status(measured: int, upper: int, state: str = "Completed") -> Object:
    """Return a run's status."""
    return {"state": state, "flops": {"measured": str(measured), "upper": str(upper)}}


@pytest.fixture
def crew(tmp_path: Path) -> Crew:
    """One run that began three steps and finished two."""
    (tmp_path / "run-0").mkdir()
    (tmp_path / "run-0" / "process").write_bytes(ORACLE.pack(3, 2))
    return Crew(Kubectl(tmp_path, "space"), ["run-0"], truth=tmp_path)


@pytest.mark.parametrize(
    ("known", "lost", "declared", "twice"),
    [
        pytest.param(
            account(FINISHED, BEGUN, final=True), 0, BEGUN - FINISHED, 0, id="exact"
        ),
        pytest.param(
            account(STEP, STEP, charged=10 * STEP, final=False),
            0,
            10 * STEP,
            0,
            id="charged for what nobody heard",
        ),
        pytest.param(
            account(STEP, STEP, final=True),
            BEGUN - STEP,
            0,
            0,
            id="a final record of too little loses the rest",
        ),
        pytest.param(
            account(BEGUN + 1, BEGUN + 1, final=True), 0, 0, 1, id="more than was done"
        ),
    ],
)
def test_a_closed_run_is_judged_by_the_truth(
    crew: Crew, known: Account, lost: int, declared: int, twice: int
) -> None:
    """Lost is what was begun above the bound; twice what was measured above it."""
    row = crew.verdict("run-0", known)

    assert (row.flops_lost, row.flops_declared) == (lost, declared)
    assert row.counted_twice == twice
    assert row.undetected == (lost > 0)


@pytest.mark.parametrize(
    ("known", "seen", "closed"),
    [
        pytest.param(None, status(0, 0), False, id="the ledger does not know the run"),
        pytest.param(
            Account(RUN), status(0, 0), False, id="nothing has ever counted in it"
        ),
        pytest.param(
            account(5, 6, final=True), status(5, 6), True, id="a final record"
        ),
        pytest.param(
            account(5, 6, final=False), status(5, 6), False, id="no word of the end"
        ),
        pytest.param(
            account(5, 6, charged=9, final=False),
            status(5, 15),
            True,
            id="its gap is closed",
        ),
        pytest.param(
            account(5, 6, charged=9, final=False),
            status(5, 6),
            False,
            id="the status does not say yet what the ledger says",
        ),
    ],
)
def test_a_run_is_closed_once_nothing_more_can_come(
    known: Account | None, seen: Object, *, closed: bool
) -> None:
    """Each stream has a final record or a closed gap, and the status shows it."""
    assert is_closed(known, seen) is closed


def test_a_run_is_exact_again_once_only_its_step_is_charged() -> None:
    """The upper bound is above what is measured by the step in flight, no more."""
    assert exact(status(10 * STEP, 11 * STEP)) == 10 * STEP
    assert exact(status(10 * STEP, 100 * STEP)) == 0


def test_each_fault_of_the_cluster_is_a_campaign_of_its_own() -> None:
    """One can be run alone, all together, and what was run is not run again."""
    names = [clustercampaign.name(fault) for fault in clustercampaign.FAULTS]
    chosen = campaigns.named("cluster")

    assert [one.name for one in chosen] == names
    assert len(set(names)) == len(names)
    assert [one.name for one in campaigns.named(names[3])] == [names[3]]
    assert all(one.seeds >= 20 for one in chosen)
    assert campaigns.named("") == list(campaigns.ALL)
    with pytest.raises(ValueError, match="no campaign nonsense; there are: cluster, "):
        campaigns.named("cluster,nonsense")


def test_a_group_is_one_line_of_the_page() -> None:
    """With the seconds of all of its campaigns, and the seeds that each has had."""
    one = {"name": "cluster-a", "seeds": 20, "seconds": 70, "claim": "all holds"}
    notes = [{**one, "group": "cluster"}, {**one, "name": "other"}]
    notes += [{**one, "name": "cluster-b", "seconds": 40, "group": "cluster"}]

    page = report.page([], {"campaigns": notes})

    assert "| cluster | 0 to 19 | 110 | all holds |" in page
    assert "| other | 0 to 19 | 70 | all holds |" in page
    assert "cluster-" not in page


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(podfaults.by_hand(), id="as usual"),
        pytest.param(podfaults.by_hand(read_only=True), id="with a read-only mount"),
        *(
            pytest.param(fault.changes, id=fault.name)
            for fault in podfaults.FAULTS
            if "initContainers" in dict(fault.changes)
        ),
    ],
)
def test_a_pod_that_is_injected_by_hand_is_left_as_it_is(
    changes: podfaults.Changes,
) -> None:
    """Else the fault would strike a volume that no page is in."""
    given = {k: v for k, v in changes if k not in {"lay", "counted"}}
    pod = job("run-0", **given)["spec"]["template"]
    images = Images("localhost/flopguard-sidecar:dev", "Never")

    patch = injection.patch(pod, "run-0", {}, images)

    assert isinstance(patch, list)
    assert {each["path"].split("/")[1] for each in patch} == {"metadata"}
