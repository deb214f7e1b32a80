"""The core of `flopguard run`: what options mean, and what a person reads."""

from fractions import Fraction

import pytest

from flopguard_operator.facts import Facts, UnknownOperator
from flopguard_operator.local import asking, telling
from flopguard_operator.local.asking import Wishes
from flopguard_operator.local.telling import Progress, Rate
from flopguard_operator.marks import Mark
from flopguard_operator.models import shipped
from flopguard_operator.models.catalogue import NOTHING
from flopguard_operator.policy.rulesets import PolicyError
from flopguard_operator.policy.terms import Approach, BaseModel, Budget, Terms
from flopguard_operator.processes import Process

KNOWN = Terms(
    base=BaseModel("acme/base", 10**24, "card"),
    budget=Budget(max_flops=10**20, warn_at_percent=(10,)),
)


@pytest.mark.parametrize(
    ("wishes", "before", "wanted"),
    [
        pytest.param(Wishes(), None, Terms(), id="nothing is said of a new program"),
        pytest.param(Wishes(), KNOWN, KNOWN, id="what is left out stays"),
        pytest.param(
            Wishes(max_flops=5),
            KNOWN,
            Terms(base=KNOWN.base, budget=Budget(5, warn_at_percent=(10,))),
            id="a raised budget keeps its warnings",
        ),
        pytest.param(
            Wishes(max_flops=5, warn_at=(90, 20, 90), hold_at=70),
            None,
            Terms(
                budget=Budget(5, warn_at_percent=(20, 90)),
                approach=Approach(hold_at_percent=70),
            ),
            id="percentages in rising order, once each",
        ),
        pytest.param(
            Wishes(base="acme/base", base_flops="2e24", systemic=True),
            KNOWN,
            Terms(
                base=BaseModel(
                    "acme/base", 2 * 10**24, "command line", systemic_risk=True
                ),
                budget=KNOWN.budget,
            ),
            id="a figure may be revised",
        ),
        pytest.param(
            Wishes(base_flops="unknown"),
            KNOWN,
            Terms(base=BaseModel("acme/base"), budget=KNOWN.budget),
            id="a figure may be taken back",
        ),
    ],
)
def test_a_start_says_only_what_changes(
    wishes: Wishes, before: Terms | None, wanted: Terms
) -> None:
    """Everything else is what earlier starts of the program said."""
    assert asking.terms(wishes, before, NOTHING) == wanted


def test_a_base_model_without_a_figure_is_looked_up() -> None:
    """As in the cluster: what its provider disclosed becomes the base's figure."""
    entry = next(e for e in shipped.entries() if e.disclosed is not None)

    found = asking.terms(Wishes(base=entry.id), None, shipped.catalogue()).base

    assert entry.disclosed is not None
    assert found.pretraining_flops == entry.disclosed.value
    assert entry.id in found.source


@pytest.mark.parametrize(
    ("wishes", "sentence"),
    [
        pytest.param(Wishes(base="acme/other"), "a --program of its own", id="base"),
        pytest.param(Wishes(base_flops="lots"), "--base-flops: ", id="no figure"),
        pytest.param(Wishes(base_flops="0"), "has to be above 0", id="no FLOPs"),
    ],
)
def test_a_contradiction_is_refused_with_what_to_do(
    wishes: Wishes, sentence: str
) -> None:
    """In the words of the command line."""
    with pytest.raises(PolicyError, match=sentence):
        asking.terms(wishes, KNOWN, NOTHING)


def test_warnings_need_a_budget() -> None:
    """Percentages of nothing would never be said."""
    with pytest.raises(PolicyError, match="give --max-flops as well"):
        asking.terms(Wishes(warn_at=(50,)), None, NOTHING)


def test_the_policy_speaks_of_options() -> None:
    """There is no manifest to change here."""
    told = asking.in_options(
        "the budget is spent. Raise spec.budget.maxFlops above 1.2e10 to resume."
    )

    assert told.endswith("Start again with --max-flops above 1.2e10 to resume.")


@pytest.mark.parametrize(
    ("now", "line"),
    [
        pytest.param(
            Progress("p", 0, 0, 0, 10**15, 0), "0 of 1e15 FLOPs (0.00 %)", id="start"
        ),
        pytest.param(
            Progress("p", 10**14, 4 * 10**14, 3 * 10**14, 10**15, 10**12),
            "3e14 of 1e15 FLOPs (30.00 %), 1e12 FLOP/s, limit in 11m",
            id="under way",
        ),
        pytest.param(
            Progress("p", 7, 7, 7, Fraction(20, 3), 5),
            "7 of 6 FLOPs (105.00 %), 5 FLOP/s",
            id="beyond a limit that is not whole",
        ),
    ],
)
def test_the_live_line_says_how_far_and_how_long(now: Progress, line: str) -> None:
    """The upper bound counts, as everywhere."""
    assert now.line == line


def test_a_rate_is_that_of_the_last_minute() -> None:
    """What was long ago says nothing of now; without two totals there is none."""
    rate = Rate()

    assert rate.take(0.0, 0) == 0
    assert rate.take(10.0, 1_000) == 100
    assert rate.take(100.0, 1_000) == 0
    assert rate.take(110.0, 51_000) == 500
    assert rate.take(200.0, 51_000) == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (119, "119s"), (120, "2m"), (7_800, "2h10m"), (1_036_800, "12d")],
)
def test_durations_are_short(seconds: int, text: str) -> None:
    """As kubectl prints ages."""
    assert telling.duration(seconds) == text


def test_what_could_not_be_counted_is_said_by_name() -> None:
    """No page at all; a flag of the hook; an operator without a formula."""
    facts = Facts(unknown_operators=(UnknownOperator("acme::fused", 3),))
    process = Process("s", "ab" * 16, {}, 0, 0, errors=("hook_failed",), facts=facts)

    (nothing,) = telling.doubts(Mark("s"), ())
    some = telling.doubts(Mark("s", pages=1), (process, process))

    assert nothing.startswith("NOT METERED")
    assert some == [
        "process abababab is not counted whole: hook_failed",
        "operator acme::fused ran 3 times and is not counted",
    ]
