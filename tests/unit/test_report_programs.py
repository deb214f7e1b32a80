"""What a report says of a program: the sum, what was decided, duties, the form."""

import csv
import io
import json
from dataclasses import replace
from typing import Any

import pytest

from flopguard_operator.ledger.accounts import Account, fold
from flopguard_operator.ledger.entries import Entry, ProgramSet
from flopguard_operator.ledger.standing import by_name, members, sum_of
from flopguard_operator.report.as_csv import as_csv
from flopguard_operator.report.as_json import as_json
from flopguard_operator.report.document import MOST_PARTS, compose
from flopguard_operator.report.facts import LedgerFacts, ProgramFacts, ReportFacts
from flopguard_operator.report.gathering import gather
from flopguard_operator.report.html import page
from flopguard_operator.report.judgement import criterion
from flopguard_operator.report.markdown import markdown
from flopguard_operator.report.rounding import DAY, days, months, order, two_figures
from flopguard_operator.rulebooks import shipped
from unit.programstory import IMPORT, PROGRAM, SECOND, program_story
from unit.story import RUN, TERMS, entries, terms_set, whole_story

LEDGER = LedgerFacts(26, "cm9vdA==", "flopguard.dev/c/ledger+0+A", "ok")
STORY = program_story()


def facts(
    story: tuple[Entry, ...] = STORY, only: set[str] | None = None
) -> ReportFacts:
    """Return the facts of a story, with the verdicts of all that ships."""
    return gather(fold(story), story, LEDGER, tuple(shipped().values()), only)


def program() -> ProgramFacts:
    """Return the facts of the story's program."""
    (found,) = facts().programs
    return found


def told() -> dict[str, Any]:
    """Return the JSON of the story's program."""
    (found,) = json.loads(json.dumps(as_json(facts())))["programs"]
    return dict(found)


def test_sum_is_the_one_that_the_operator_judges_by() -> None:
    """Runs and imports, less what was excluded; the curve ends at the same figures."""
    accounts = fold(STORY)
    account: Account = by_name(accounts)["support-bot"]
    right = sum_of(account, members("support-bot", accounts.values()))
    found = program()

    assert found.totals == right
    assert right.upper == (9 + 24) * 10**23 - 10**22 + 2 * 10**22 + IMPORT.high
    assert (found.points[-1].measured, found.points[-1].upper) == (
        right.measured,
        right.upper,
    )
    assert found.points[0].upper == 0


def test_imported_jobs_are_never_in_what_is_measured() -> None:
    """They raise the upper bound only, and stand in a table of their own."""
    found = program()
    text = markdown(compose(facts()))

    assert found.totals.measured == 33 * 10**23 - 10**22
    assert told()["imported"][0]["high"] == str(IMPORT.high)
    assert "nothing of them is in the measured figures" in text
    assert "of the upper bound: imported, not measured" in text


def test_criterion_is_that_of_the_whole_program() -> None:
    """No run meets it alone; together they may, by what is possible."""
    assert "): may be met. 3.29e24 FLOPs are proven" in criterion(program())
    assert [run.policies[0].exceeded for run in facts().runs] == [False, False]


def test_duties_have_owner_evidence_and_state() -> None:
    """A decision to fulfil closes its duty; the owner is the program's; terms run."""
    found = {each["name"]: each for each in told()["duties"]["duties"]}
    done = found["technical-documentation"]

    assert (done["state"], done["owner"]) == (
        "fulfilled by eva@example.org",
        "max@example.org",
    )
    assert done["evidence"] == "https://example.org/annex-xi"
    assert done["known"]
    assert found["systemic-risk"]["state"] == "open"
    assert found["systemic-risk"]["owner"] == "eva@example.org"
    assert found["downstream-information"]["owner"] is None
    assert found["notification"]["due"] == "2026-12-06"
    assert told()["duties"]["fines"][0]["euros"] == 15_000_000
    assert [each["day"] for each in told()["duties"]["dates"]] == [
        "2025-08-02",
        "2026-08-02",
        "2027-08-02",
    ]


def test_a_decision_that_expired_closes_nothing() -> None:
    """The duty is open again, and the decision stays visible."""
    from flopguard_operator.ledger.entries import DecisionExpired

    ended = Entry(
        99, "2026-11-23T00:00:00.000Z", DecisionExpired(PROGRAM, "uid-annex-xi")
    )
    (found,) = as_json(facts((*STORY, ended)))["programs"]
    duties = {each["name"]: each["state"] for each in found["duties"]["duties"]}

    assert duties["technical-documentation"] == "open"
    assert [one["in_force"] for one in found["decisions"]] == [True, False]


def test_no_duty_is_listed_below_every_criterion() -> None:
    """And the report says so, without saying that there are none."""
    story = whole_story()
    text = markdown(compose(facts(story)))

    assert "No policy's criterion is met, so none of its duties is listed" in text
    assert as_json(facts(story))["runs"][0]["duties"] is None


@pytest.mark.parametrize("story", [STORY, whole_story()], ids=["program", "run"])
def test_report_calls_nobody_a_provider(story: tuple[Entry, ...]) -> None:
    """It says which criterion is met; who is what is a legal judgement."""
    text = page(compose(facts(story))).lower()

    assert "you are" not in text
    assert "is a provider" not in text
    assert "indicative criterion" in text


def test_runs_stand_with_what_of_them_counts() -> None:
    """What was excluded is shown beside what the run has spent."""
    found = {run["name"]: run for run in told()["runs"]}

    assert found["support-sft"]["upper"] == str(9 * 10**23)
    assert found["support-sft"]["counts_here"] == str(89 * 10**22)
    assert told()["adjusted"][0]["change"] == "Excluded"


def test_program_that_only_runs_name_is_judged_by_its_newest_run() -> None:
    """The sum is judged, and the report says by what."""
    story = tuple(e for e in STORY if e.event.run != PROGRAM)
    (found,) = facts(story).programs

    assert found.threshold is not None
    assert found.budget is None
    assert found.totals.measured == 33 * 10**23
    assert "the ledger has no FineTuneProgram of that name" in markdown(
        compose(facts(story))
    )


def test_program_without_runs_or_judgeable_terms_is_still_told() -> None:
    """Nothing that a ledger can hold makes the report fail."""
    lone = facts(tuple(e for e in STORY if isinstance(e.event, ProgramSet)))
    (found,) = lone.programs

    assert "was never noted" in found.problem
    assert "No run has joined yet." in markdown(compose(lone))


@pytest.mark.parametrize(
    ("only", "programs", "runs"),
    [
        ({"support-bot"}, ["support-bot"], ["support-dpo", "support-sft"]),
        ({SECOND.uid}, [], ["support-dpo"]),
        (None, ["support-bot"], ["support-dpo", "support-sft"]),
    ],
    ids=["a program brings its runs", "a run stands alone", "everything"],
)
def test_what_is_asked_for_is_told(
    only: set[str] | None, programs: list[str], runs: list[str]
) -> None:
    """And nothing else."""
    found = facts(only=only)

    assert [one.name for one in found.programs] == programs
    assert [one.run.name for one in found.runs] == runs


def test_page_tells_the_newest_runs_in_full_and_says_so() -> None:
    """A program of hundreds of runs still makes a page; its table lists each."""
    runs = [replace(RUN, uid=f"uid-{n}", name=f"run-{n:03}") for n in range(80)]
    text = markdown(
        compose(facts(entries([terms_set(TERMS, run=run) for run in runs])))
    )

    assert text.count("## Run ml/") == MOST_PARTS
    assert f"The newest {MOST_PARTS} runs are told in full" in text
    assert "| ml/run-000 |" in text


def test_timeline_of_a_program_is_its_own_and_what_its_runs_met() -> None:
    """Joined, imported, crossed, held, decided, released, excluded."""
    kinds = [moment.kind for moment in program().timeline]

    assert kinds == [
        "Terms",
        "Joined",
        "Import",
        "Joined",
        "Warning",
        "Hold",
        "Decision",
        "Decision",
        "Release",
        "Sum",
    ]


def test_form_is_rounded_for_each_recipient() -> None:
    """Two figures, an order of magnitude, a range of months; energy with its reason."""
    items = {item["item"]: item for item in told()["model_documentation_form"]["items"]}
    amount = items["Amount of computation used for training"]

    assert amount["ai_office"] == "2.6x10^24 FLOP"
    assert amount["national_authorities"] == "order of 10^24 FLOP"
    assert amount["downstream_providers"] == "-"
    assert items["Training time: wall clock"]["national_authorities"] == (
        "less than 1 month"
    )
    assert "NVIDIA H100" in items["Training time: hardware days"]["ai_office"]
    energy = items["Amount of energy used for training"]["ai_office"]
    assert energy.startswith("N/A.")
    assert len(items["Measurement methodology (compute)"]["ai_office"].split()) < 130


ROUNDED = {
    "two figures of one": (1, "1.0x10^0"),
    "a zero is kept": (2 * 10**25, "2.0x10^25"),
    "half is rounded up": (235 * 10**23, "2.4x10^25"),
    "up to the next order": (996 * 10**22, "1.0x10^25"),
    "nothing": (0, "0"),
}


@pytest.mark.parametrize(("flops", "text"), ROUNDED.values(), ids=ROUNDED.keys())
def test_two_significant_figures(flops: int, text: str) -> None:
    """As paragraph 32 writes them."""
    assert two_figures(flops) == text


def test_orders_days_and_months() -> None:
    """The order is not rounded up; months are a twelfth of 365 days."""
    assert [order(n) for n in (0, 9, 99 * 10**23, 10**25)] == [
        "0",
        "10^0",
        "10^24",
        "10^25",
    ]
    assert [days(n) for n in (0, 600_000, DAY, 1234 * DAY)] == [
        "0",
        "0.0069",
        "1",
        "1200",
    ]
    assert [months(n * DAY) for n in (30, 31, 91, 92, 182, 183)] == [
        "less than 1 month",
        "1 to 3 months",
        "1 to 3 months",
        "3 to 6 months",
        "3 to 6 months",
        "more than 6 months",
    ]


def test_csv_is_exact_and_no_spreadsheet_computes_it() -> None:
    """Digits for FLOPs; a name that looks like a formula is text."""
    hostile = replace(RUN, name='=HYPERLINK("http://evil.test")\n+1')
    story = entries([terms_set(replace(whole_story()[0].event.terms), run=hostile)])  # type: ignore[union-attr] # the story begins with terms
    rows = list(csv.DictReader(io.StringIO(as_csv(facts()))))
    upper = next(r for r in rows if (r["kind"], r["item"]) == ("program", "upper"))
    attacked = as_csv(facts(story))

    assert upper["value"] == str(program().totals.upper)
    assert {"low", "high"} <= {r["item"].split()[-1] for r in rows}
    assert "\nml/=" in attacked.replace("run,", "\n").replace('"', "")
    assert not any(line.startswith(("=", "+")) for line in attacked.splitlines())
