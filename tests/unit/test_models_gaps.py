"""`flopguard models`: look-ups, gaps and what a disclosure of them would be worth."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from flopguard_operator import rulebooks
from flopguard_operator.cli import main
from flopguard_operator.ledger.accounts import Account, apply
from flopguard_operator.ledger.entries import RunRef, Settlement
from flopguard_operator.ledger.keys import generate
from flopguard_operator.ledger.store import SqliteStore
from flopguard_operator.models import gaps, shipped
from flopguard_operator.models.basis import look_up
from flopguard_operator.models.requests import disclosure_request, fill
from flopguard_operator.policy.rules import governing
from flopguard_operator.policy.terms import DEFAULT_POLICY, BaseModel, Terms
from unit.story import TERMS, commits, terms_set

CATALOGUE = shipped.catalogue()
RULES = rulebooks.shipped()
POLICIES = gaps.Policies(tuple(RULES.values()), "2026-11-22")
LLAMA = look_up("meta-llama/Llama-3.1-8B", CATALOGUE)
UNKNOWN = BaseModel("acme/x1")


def account(
    name: str, base: BaseModel, flops: int, program: str = "support-bot"
) -> Account:
    """Return a run that has spent some FLOPs on a base model."""
    ref = RunRef(f"uid-{name}", "ml", name)
    event = replace(terms_set(Terms(base=base), run=ref), program=program)
    spent = Settlement(ref, "s", {"forward": flops}, flops, 1, 1, "x", final=False)
    return apply(apply(Account(ref), event), spent)


def prospect(gap: gaps.Gap) -> gaps.Prospect:
    """Return what the default policy says."""
    return next(each for each in gap.prospects if each.policy == DEFAULT_POLICY)


def found(*accounts: Account, disclosures: tuple[int, ...] = ()) -> list[gaps.Gap]:
    """Return the gaps of some runs."""
    return gaps.find(accounts, CATALOGUE, POLICIES, disclosures)


def test_runs_of_a_program_are_one_gap_with_their_sum() -> None:
    """The programme's head-room is what a disclosure changes."""
    (gap,) = found(account("a", UNKNOWN, 10**21), account("b", UNKNOWN, 2 * 10**21))

    assert gap.runs == ("ml/a", "ml/b")
    assert gap.totals.upper == 3 * 10**21
    assert prospect(gap).now.room == 33 * 10**21 - 3 * 10**21


def test_a_run_without_a_program_stands_alone() -> None:
    """Two of them are two gaps."""
    pair = found(account("a", UNKNOWN, 1, ""), account("b", UNKNOWN, 2, ""))

    assert [gap.title for gap in pair] == ["ml/b", "ml/a"]


def test_a_base_that_is_disclosed_or_given_is_no_gap() -> None:
    """Neither one with the person's own figure nor one of the catalogue."""
    given = BaseModel("acme/x1", 10**24, "letter")
    known = look_up("tiiuae/falcon-180B", CATALOGUE)

    assert found(account("a", given, 1), account("b", known, 1)) == []


def test_old_entries_are_looked_up_as_of_now() -> None:
    """A ledger from before the catalogue needs no new entry to be helped."""
    bare = account("a", BaseModel("tiiuae/falcon-180B"), 1)
    (gap,) = found(account("b", BaseModel("meta-llama/Llama-3.1-8B"), 1), bare)

    assert gap.base == LLAMA


WORTH = {
    "an estimate that is confirmed at its low end": (LLAMA, 72 * 10**22, 216 * 10**21),
    "the line of general-purpose models lowers the limit": (
        UNKNOWN,
        10**23,
        3 * 10**22,
    ),
    "a large figure": (UNKNOWN, 10**25, 3 * 10**24),
    "a figure that is not whole": (
        UNKNOWN,
        10**24 + 1,
        Fraction(3 * (10**24 + 1), 10),
    ),
}


@pytest.mark.parametrize(("base", "figure", "limit"), WORTH.values(), ids=WORTH.keys())
def test_what_a_disclosure_gives(
    base: BaseModel, figure: int, limit: int | Fraction
) -> None:
    """Exact to the FLOP, with what the program has spent taken off."""
    (gap,) = found(account("a", base, 10**21), disclosures=(figure,))
    after = prospect(gap).after[figure]

    assert after.limit == limit
    assert after.room == limit - 10**21


def test_estimates_are_tried_where_there_are_some_else_decades() -> None:
    """So that the answer is about this model."""
    (of_llama,) = found(account("a", LLAMA, 1))
    (of_unknown,) = found(account("a", UNKNOWN, 1))

    assert tuple(prospect(of_llama).after) == (72 * 10**22, 208 * 10**22)
    assert tuple(prospect(of_unknown).after) == gaps.DECADES


def test_the_least_disclosure_that_helps_is_exact() -> None:
    """One FLOP less and the limit stays where it is or falls."""
    (gap,) = found(account("a", UNKNOWN, 1))
    least = prospect(gap).helps_from
    assert least is not None
    judged = [
        governing(gaps.disclosed(UNKNOWN, figure), RULES[DEFAULT_POLICY]).limit
        for figure in (least - 1, least)
    ]

    assert least == 11 * 10**22 + 1
    assert judged[0] <= 33 * 10**21 < judged[1]


BY_POLICY = {
    # An estimate of 7.2e23 to 2.08e24, 1e21 forward and 2e21 recompute.
    "eu-ai-act-30-percent": (3 * 10**21, 33 * 10**21, 11 * 10**22 + 1),
    "commission-guidelines-2025": (10**21, 24 * 10**22, 72 * 10**22 + 1),
    "strictest": (3 * 10**21, 33 * 10**21, 11 * 10**22 + 1),
}


@pytest.mark.parametrize("policy", BY_POLICY)
def test_each_policy_counts_and_limits_by_its_own_rules(policy: str) -> None:
    """An estimate counts in one of them, and so does recomputation in others."""
    one = account("a", LLAMA, 10**21)
    more = Settlement(
        one.ref, "t", {"recompute": 2 * 10**21}, 2 * 10**21, 1, 1, "x", final=False
    )
    (gap,) = found(apply(one, more))
    (told,) = [each for each in gap.prospects if each.policy == policy]

    assert (told.now.counted, told.now.limit, told.helps_from) == BY_POLICY[policy]


def test_no_disclosure_helps_a_systemic_base() -> None:
    """Its limit is at most 3.3e24 already."""
    (gap,) = found(account("a", replace(UNKNOWN, systemic_risk=True), 1))

    assert prospect(gap).helps_from is None


def test_the_request_is_ready_to_be_sent() -> None:
    """Names, provider and what is known are in; the sender's own data are left."""
    template = shipped.template("disclosure-request")
    letter = disclosure_request(template, LLAMA, CATALOGUE.find(LLAMA.name))

    assert letter.startswith("# Request: the training compute of Llama 3.1-8B\n")
    assert "To: Meta AI" in letter
    assert "between 7.2e23 and 2.08e24 FLOP, derived by others" in letter
    assert "[BASE MODEL]" not in letter
    assert "[YOUR ORGANISATION]" in letter


def test_a_name_is_only_text_in_the_letter() -> None:
    """A tenant's name is neither markup, nor a line of its own, nor a placeholder."""
    name = "x](evil) [PROVIDER]\n# <b>"
    letter = disclosure_request("[BASE MODEL]|[PROVIDER]", BaseModel(name), None)

    assert letter == r"x\](evil) \[PROVIDER\] \# \<b\>|[PROVIDER]"


def test_what_was_filled_in_is_not_filled_again() -> None:
    """Whatever order the placeholders have."""
    assert fill("[A] [B]", {"A": "B", "B": "x"}) == "B x"
    assert fill("[A][A]", {"A": ""}) == "[A][A]"


def flopguard(*arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, ["models", *arguments])


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a ledger with a run on an estimated base model."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    store = SqliteStore(path, generate("flopguard.dev/5d1f6f0e/ledger"))
    for at, together in commits([terms_set(replace(TERMS, base=LLAMA))]):
        store.commit(together, [], at)
    store.close()
    return path


def test_gaps_are_told_in_words(ledger: Path) -> None:
    """What governs, what a disclosure gives, and from where on one helps."""
    result = flopguard("gaps", "--ledger", str(ledger))

    assert result.exit_code == 0, result.output
    assert "Program support-bot: meta-llama/Llama-3.1-8B, not disclosed" in (
        result.output
    )
    assert f"{DEFAULT_POLICY} (governs)" in result.output
    assert "if 7.2e23 were disclosed: limit 2.16e23, 2.16e23 left" in result.output
    assert "a disclosure above 1.1e23 raises the limit" in result.output


def test_gaps_are_told_as_json(ledger: Path) -> None:
    """FLOPs are strings of digits."""
    result = flopguard(
        "gaps", "--ledger", str(ledger), "--disclosure", "1e24", "--json"
    )
    (gap,) = json.loads(result.stdout)["gaps"]
    default = next(p for p in gap["policies"] if p["policy"] == DEFAULT_POLICY)

    assert gap["estimate_low"] == "72" + "0" * 22
    assert default["disclosures"] == [
        {"flops": "1" + "0" * 24, "limit": "3" + "0" * 23, "room": "3" + "0" * 23}
    ]


def test_requests_are_written_one_per_base(ledger: Path, tmp_path: Path) -> None:
    """Under a name that no tenant can steer out of the folder."""
    folder = tmp_path / "letters"
    result = flopguard("gaps", "--ledger", str(ledger), "--requests", str(folder))

    assert result.exit_code == 0
    assert [path.name for path in folder.iterdir()] == [
        "001-meta-llama-llama-3.1-8b.md"
    ]


def test_show_gives_every_figure_and_what_is_used() -> None:
    """Those that disagree, with their source, and the licence's attribution."""
    result = flopguard("show", "llama-3.1-8b")

    assert result.exit_code == 0
    for text in ("1.22e24 (7.2e23 to 2.08e24)", "7.2e23 FLOPs", "2.08e24 FLOPs"):
        assert text in result.output
    assert "Not disclosed. 7.2e23 to 2.08e24 FLOPs is an estimate" in result.output
    assert "Epoch AI, Data on AI Models (CC BY 4.0)" in result.output


def test_show_of_a_near_miss_suggests_and_fails() -> None:
    """Exit code 2, and nothing is shown for it."""
    result = flopguard("show", "llama-3.1-9b")

    assert result.exit_code == 2
    assert "did you mean meta-llama/Llama-3.1-8B," in result.stderr
    assert result.stdout == ""


LISTED = {
    "all": ((), 167),
    "what is disclosed": (("--standing", "disclosed"), 21),
    "what others derived": (("--standing", "estimate"), 136),
    "what is not known": (("--standing", "unknown"), 10),
}


@pytest.mark.parametrize(("options", "count"), LISTED.values(), ids=LISTED.keys())
def test_list_filters_by_standing(options: tuple[str, ...], count: int) -> None:
    """In words and as JSON."""
    words = flopguard("list", *options).output
    listed = json.loads(flopguard("list", *options, "--json").output)

    assert f"\n{count} base models." in words
    assert len(listed["models"]) == count


def test_private_entries_are_found_and_bad_ones_refused(tmp_path: Path) -> None:
    """Exit code 1: the file is not what it should be; 2: it is not there."""
    shown = flopguard("show", "llama-3.1-8b", "--json").output
    own = tmp_path / "own.yaml"
    own.write_text(shown.replace("llama-3.1-8b", "own").replace("lama", "ama"))
    bad = tmp_path / "bad.yaml"
    bad.write_text("models: [{}]")

    assert flopguard("show", "own", "--private", str(own)).exit_code == 0
    refused = flopguard("list", "--private", str(bad))
    assert refused.exit_code == 1
    assert "bad.yaml.models[0].id: Field required" in refused.stderr
    assert flopguard("list", "--private", str(tmp_path / "no")).exit_code == 2


@pytest.mark.parametrize("name", shipped.TEMPLATES)
def test_templates_are_printed(name: str) -> None:
    """As they are in the docs."""
    assert flopguard("template", name).output == shipped.template(name)


def test_search_lists_what_matches() -> None:
    """With how many there are."""
    result = flopguard("search", "apertus")

    assert "swiss-ai/Apertus-70B-2509" in result.output
    assert "1 base models." in result.output
