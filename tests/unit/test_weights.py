"""The last saved weights below each line: one function, told by status and report."""

import csv
import io
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from flopguard_operator.flops import display
from flopguard_operator.ledger import standing, weights
from flopguard_operator.ledger.accounts import fold, totals
from flopguard_operator.ledger.entries import (
    Entry,
    HoldReleased,
    ProgramAdjusted,
    WeightsSaved,
)
from flopguard_operator.ledger.weights import Line, Spent, lines_of
from flopguard_operator.policy.evaluation import PolicyVerdict
from flopguard_operator.policy.terms import Totals
from flopguard_operator.report.as_csv import as_csv
from flopguard_operator.report.as_json import as_json
from flopguard_operator.report.document import compose
from flopguard_operator.report.escaping import as_html, as_markdown
from flopguard_operator.report.facts import ReportFacts
from flopguard_operator.report.gathering import gather
from flopguard_operator.report.html import page
from flopguard_operator.report.markdown import markdown
from flopguard_operator.rulebooks import shipped
from unit.programstory import PROGRAM, SECOND, program_story
from unit.story import BUDGET, RUN, held_story, whole_story
from unit.test_report_documents import LEDGER

HEADING = "Weights to go back to"


def saved(path: str, upper: int, step: int = 0) -> WeightsSaved:
    """Return the entry of weights that a run saved."""
    return WeightsSaved(RUN, "s", "n", path, "torch", step, upper, upper)


def verdict(policy: str, limit: int, counted: int) -> PolicyVerdict:
    """Return what a policy says of a total."""
    return PolicyVerdict(policy, limit, counted, counted > limit, "", "", "", "")


def told(
    saves: list[WeightsSaved], lines: tuple[Line, ...], **more: Any
) -> dict[str, str]:
    """Return the paths of the weights to go back to, by line."""
    found = weights.ways_back(lines, saves, **{"held": True} | more)
    return {one.line.name: one.saved.path if one.saved else "" for one in found}


def test_each_policy_has_its_own_last_weights() -> None:
    """A lower line has older weights, and one below the first save has none."""
    policies = (verdict("high", 100, 80), verdict("low", 30, 80), verdict("no", 5, 80))
    lines = lines_of(Spent(80, policies, Fraction(101, 2)))
    saves = [saved("a", 10), saved("b", 50), saved("c", 75)]

    assert told(saves, lines) == {"budget": "b", "high": "c", "low": "a", "no": ""}


def test_what_siblings_spent_is_taken_off_as_each_policy_counts_it() -> None:
    """The run's own budget stays whole; a policy nobody judged them by counts all."""
    mine = verdict("all", 100, 40), verdict("part", 100, 30), verdict("alone", 100, 40)
    theirs = verdict("all", 100, 50), verdict("part", 90, 20)
    lines = lines_of(Spent(40, mine, 60), Spent(50, theirs, 80))

    assert [(one.name, one.limit - one.others) for one in lines] == [
        ("budget", 60),
        ("program budget", 30),
        ("all", 50),
        ("part", 70),
        ("alone", 50),
    ]


@pytest.mark.parametrize(
    ("line", "held", "is_told"),
    [
        (Line("p", 100, 89), False, False),
        (Line("p", 100, 90), False, True),
        (Line("p", 100, 40, 50), False, True),
        (Line("p", 100, 200), False, True),
        (Line("p", 100, 1), True, True),
    ],
    ids=["far off", "near", "near by its siblings", "behind", "held far off"],
)
def test_weights_are_named_once_a_line_is_near(
    line: Line, *, held: bool, is_told: bool
) -> None:
    """Or the run is held."""
    assert bool(told([saved("a", 1)], (line,), held=held)) == is_told


SAVES = {
    "at the line is not below it": ([saved("a", 9), saved("b", 10)], (), "a"),
    "a path that was saved again holds the newer weights": (
        [saved("last", 5), saved("a", 4), saved("last", 20)],
        (),
        "a",
    ),
    "what is gone is left out": ([saved("a", 4), saved("b", 5)], ("b",), "a"),
}


@pytest.mark.parametrize(("saves", "gone", "path"), SAVES.values(), ids=SAVES)
def test_last_below(
    saves: list[WeightsSaved], gone: tuple[str, ...], path: str
) -> None:
    """Strictly below, and still there."""
    assert told(saves, (Line("p", 10, 0),), gone=gone) == {"p": path}


def test_a_program_without_a_run_is_the_sum_of_the_others() -> None:
    """Also of what was taken out of that run, and with what was imported."""
    accounts = fold(program_story())
    program = standing.by_name(accounts)[PROGRAM.name]
    runs = standing.members(PROGRAM.name, accounts.values())
    own = next(run for run in runs if run.ref == RUN)
    rest = [run for run in runs if run is not own]
    assert rest
    assert any(isinstance(one, ProgramAdjusted) for one in program.adjusted)

    without = standing.without(standing.sum_of(program, runs), own, program.adjusted)

    assert without == standing.sum_of(program, rest)
    alone = standing.without(totals(own), own, ())
    assert alone == Totals(dict.fromkeys(alone.done, 0))


def with_saves(story: tuple[Entry, ...], *saves: WeightsSaved) -> tuple[Entry, ...]:
    """Return a story at whose end these saves are entered."""
    at, n = story[-1].at, len(story)
    return story + tuple(Entry(n + i, at, save) for i, save in enumerate(saves))


def facts(story: tuple[Entry, ...]) -> ReportFacts:
    """Return the facts of a story, with the verdicts of all that ships."""
    return gather(fold(story), story, LEDGER, tuple(shipped().values()))


def saved_story() -> tuple[Entry, ...]:
    """Return the story of a held run that saved weights below its budget and above."""
    return with_saves(
        held_story(), saved("/out/5", BUDGET // 2, 5), saved("/out/11", BUDGET + 1, 11)
    )


def test_a_report_tells_the_same_in_every_format() -> None:
    """Each row of the JSON stands in page, Markdown and CSV; exact where it says so."""
    found = facts(saved_story())
    (run,) = as_json(found)["runs"]
    html, text = page(compose(found)), markdown(compose(found))
    rows = {r["item"]: r for r in csv.DictReader(io.StringIO(as_csv(found)))}

    by_line = {one["line"]: one for one in run["rollbacks"]}
    assert by_line.keys() == {"budget", *(one["policy"] for one in run["policies"])}
    assert by_line["budget"]["path"] == "/out/5"
    assert by_line[run["policies"][0]["policy"]]["path"] == "/out/11"
    for one in run["rollbacks"]:
        flops = display(int(one["flops"]))
        cells = [one["line"], one["limit_display"], one["path"], str(one["step"])]
        cells += [flops, one["flops"]]
        assert f"| {' | '.join(map(as_markdown, cells))} |" in text
        row = next(
            r
            for r in html.split("<tr")
            if f">{as_html(one['line'])}<" in r and f">{as_html(one['path'])}<" in r
        )
        assert all(f">{as_html(cell)}<" in row for cell in cells)
        in_csv = rows[f"weights to go back to: {one['line']}"]
        assert (in_csv["value"], in_csv["rounded"]) == (one["flops"], flops)
        assert in_csv["note"] == f"step {one['step']}: {one['path']}"


def test_a_report_says_where_no_weights_lie_below_a_line() -> None:
    """A sentence names these lines; without any save there is no table."""
    above = facts(with_saves(held_story(), saved("/out/11", BUDGET + 1, 11)))
    row = as_json(above)["runs"][0]["rollbacks"][0]

    assert (row["line"], row["path"], row["flops"]) == ("budget", None, None)
    told_ = "No saved weights lie below the line of: budget."
    assert told_ in page(compose(above))
    assert told_.rstrip(".") in markdown(compose(above)).replace("\\", "")
    assert "no saved weights lie below it" in as_csv(above)
    never = page(compose(facts(held_story())))
    assert "The ledger knows of no weights that this run saved." in never


def test_a_report_is_silent_while_no_line_is_near() -> None:
    """Released, and below 90 percent of the raised budget."""
    story = with_saves(whole_story(), saved("/out/5", BUDGET // 2, 5))
    assert any(isinstance(entry.event, HoldReleased) for entry in story)

    assert as_json(facts(story))["runs"][0]["rollbacks"] == []
    assert HEADING not in page(compose(facts(story)))


def test_a_runs_weights_are_held_against_what_its_program_has_left() -> None:
    """Reported alone or with its program: its siblings count, whoever asks."""
    spent = 10**23
    save = replace(saved("/out/1", spent, 1), run=SECOND)
    story = with_saves(program_story(), save)
    accounts = fold(story)
    everything = {run.run.uid: run.rollbacks for run in facts(story).runs}
    alone = gather(
        accounts, story, LEDGER, tuple(shipped().values()), only=[SECOND.uid]
    )

    (run,) = alone.runs
    assert run.rollbacks == everything[SECOND.uid]
    program = standing.by_name(accounts)[PROGRAM.name]
    others = standing.sum_of(program, [accounts[RUN.uid]]).upper
    budget = next(o for o in run.rollbacks if o.line.name == "program budget")
    assert (budget.line.limit, budget.line.others) == (5 * 10**24, others)
    assert budget.saved == save
