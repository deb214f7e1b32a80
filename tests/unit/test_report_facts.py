"""What a report gathers from a ledger: the fold's totals, the policy's verdicts."""

from dataclasses import replace

from flopguard_operator.ledger.accounts import fold, totals
from flopguard_operator.ledger.entries import Entry, RunRef
from flopguard_operator.report.facts import LedgerFacts, RunFacts
from flopguard_operator.report.gathering import gather
from flopguard_operator.report.timeline import (
    ATTEMPT,
    HELD,
    LIMIT,
    PROOF,
    RELEASE,
    WARNING,
)
from flopguard_operator.report.timeline import (
    TERMS as TERMS_KIND,
)
from unit.story import (
    BUDGET,
    RUN,
    TERMS,
    entries,
    held_story,
    opened,
    settled,
    terms_set,
    whole_story,
)

LEDGER = LedgerFacts(size=0, root="", key="", outcome="ok")


def only(story: tuple[Entry, ...]) -> RunFacts:
    """Return the facts of the one run of a story."""
    (run,) = gather(fold(story), story, LEDGER).runs
    return run


def test_totals_are_those_of_the_fold() -> None:
    """The report counts nothing by itself."""
    story = whole_story()

    assert only(story).totals == totals(fold(story)[RUN.uid])


def test_timeline_tells_the_whole_life_in_order() -> None:
    """At its limit, held, proven, released, resumed; settlements are left out."""
    kinds = [moment.kind for moment in only(whole_story()).timeline]
    told = [kind for kind in kinds if kind != WARNING]

    assert told == [
        TERMS_KIND,
        ATTEMPT,
        LIMIT,
        HELD,
        PROOF,
        TERMS_KIND,
        RELEASE,
        ATTEMPT,
    ]


def test_points_rise_with_the_settlements() -> None:
    """The curve starts at zero, never falls and ends at the totals."""
    run = only(whole_story())
    uppers = [point.upper for point in run.points]

    assert uppers[0] == 0
    assert uppers == sorted(uppers)
    assert (run.points[-1].measured, uppers[-1]) == (
        run.totals.measured,
        run.totals.upper,
    )


def test_attempts_carry_their_own_marks() -> None:
    """Two pods of one run are two attempts, and their sum is the run."""
    run = only(whole_story())

    assert [attempt.opened.cause for attempt in run.attempts] == ["Started", "Resumed"]
    assert sum(a.mark.measured for a in run.attempts) == run.totals.measured


def test_verdicts_are_those_of_the_newest_terms() -> None:
    """After the budget was raised the run is warned, and no longer over it."""
    assert [v.percent for v in only(whole_story()).verdicts] == [50]
    assert [v.percent for v in only(held_story()).verdicts] == [100, 50, 80, 95]


def test_runs_are_told_apart_by_uid_and_sorted_by_name() -> None:
    """A run of the same name that was deleted and made anew is a second run."""
    other = RunRef("another-uid", RUN.namespace, "a-first")
    story = (
        *held_story(),
        *entries(
            [terms_set(TERMS, run=other), opened("s-9", "p", "Started", run=other)]
        ),
    )

    runs = gather(fold(story), story, LEDGER).runs

    assert [run.run.name for run in runs] == ["a-first", "support-sft"]
    assert [run.totals.upper for run in runs] == [0, 10_010 * 10**18]


def test_runs_that_are_not_asked_for_are_left_out() -> None:
    """A report on one run reads a ledger of many."""
    story = held_story()

    assert gather({}, story, LEDGER).runs == ()


def test_run_without_terms_is_not_judged() -> None:
    """A ledger cut short of its terms gives figures, no verdict and the reason."""
    story = entries([opened("s", "p", "Started"), settled("s", 10**18, 10**18)])
    run = only(story)

    assert (run.threshold, run.verdicts, run.budget) == (None, (), None)
    assert run.problem == "the ledger holds no terms for it"
    assert run.totals.measured == 10**18


def test_run_of_a_policy_this_version_does_not_know_is_not_judged() -> None:
    """A ledger of a newer flopguard is read, and its policy named as unknown."""
    known = terms_set(TERMS)
    newer = replace(known, terms=replace(TERMS, policy="strictest"))
    story = (Entry(0, "2026-11-22T00:00:00.000Z", newer),)

    assert 'no policy "strictest"' in only(story).problem


def test_budget_is_exact() -> None:
    """The limit that is printed is the one that was judged by."""
    assert only(held_story()).budget == BUDGET
