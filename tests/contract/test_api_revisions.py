"""What may change on a run that is there, and what may not."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from cluster.kubectl import Kubectl, KubectlError
from contract.runs import HELD, Run

pytestmark = pytest.mark.apiserver

COUNTED = {"flops": {"measured": "7", "upper": "9"}}
BEGUN = {"flops": {"measured": "0", "upper": "9"}}
NOTHING_COUNTED = {"flops": {"measured": "0", "upper": "0"}}
NAME_STAYS = "baseModel.name cannot be changed once FLOPs are counted"


@dataclass(frozen=True)
class Revision:
    """A run as it is, and a change to its spec."""

    case: str
    change: dict[str, Any]
    spec: dict[str, Any] = field(default_factory=dict)
    status: dict[str, Any] | None = None
    answer: str = ""


REFUSED = (
    Revision(
        "another program",
        {"program": "b"},
        spec={"program": "a"},
        answer="program cannot be changed",
    ),
    Revision(
        "a program where there was none",
        {"program": "b"},
        answer="spec.program: Invalid value",
    ),
    Revision(
        "another base model after the first mark",
        {"baseModel": {"name": "b"}},
        spec={"baseModel": {"name": "a"}},
        status=COUNTED,
        answer=NAME_STAYS,
    ),
    Revision(
        "no base model once work began",
        {"baseModel": None},
        spec={"baseModel": {"name": "a"}},
        status=BEGUN,
        answer=NAME_STAYS,
    ),
    Revision(
        "another workload while held",
        {"workload": {"name": "other"}},
        status=HELD,
        answer="workload cannot be changed while the run holds it",
    ),
)

ACCEPTED = (
    Revision(
        "the budget of a held run",
        {"budget": {"maxFlops": "1e4"}},
        spec={"budget": {"maxFlops": "1e3"}},
        status=HELD,
    ),
    Revision(
        "the threshold of a held run",
        {"threshold": {"holdAtPercent": 120}},
        status=HELD,
    ),
    Revision(
        "the workload of a run that holds nothing",
        {"workload": {"name": "other"}},
        status={"holds": []},
    ),
    Revision(
        "the base model before the first mark",
        {"baseModel": {"name": "b"}},
        spec={"baseModel": {"name": "a"}},
        status=NOTHING_COUNTED,
    ),
    Revision(
        "the figures of the base model at any time",
        {"baseModel": {"pretrainingFlops": "8e24", "source": "paper"}},
        spec={"baseModel": {"name": "a"}},
        status=COUNTED,
    ),
    Revision(
        "a base model that was not known",
        {"baseModel": {"name": "a"}},
        status=COUNTED,
    ),
    Revision("what a deletion does", {"onDelete": "Release"}, status=HELD),
)


@pytest.mark.parametrize("revision", REFUSED, ids=lambda r: r.case)
def test_a_change_that_is_refused(namespace: Kubectl, revision: Revision) -> None:
    """The refusal names the field and says what to do instead."""
    run = Run(namespace)
    run.make(revision.spec, revision.status)

    with pytest.raises(KubectlError) as refusal:
        run.change(revision.change)

    assert revision.answer in refusal.value.stderr
    assert "<nil>" not in refusal.value.stderr


@pytest.mark.parametrize("revision", ACCEPTED, ids=lambda r: r.case)
def test_a_change_that_is_accepted(namespace: Kubectl, revision: Revision) -> None:
    """Figures and reactions may be revised; the ledger keeps both."""
    run = Run(namespace)
    run.make(revision.spec, revision.status)

    assert "patched" in run.change(revision.change)
