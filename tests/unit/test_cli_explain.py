"""`flopguard explain`, and the help that teaches every command."""

import hashlib
import json
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from flopguard_operator.cli import main

HOUSE = Path(__file__).parents[2] / "examples" / "manifests" / "policies.yaml"


def explain(base_flops: str, modification: str, *more: str) -> Result:
    """Run `flopguard explain` on a base model called B."""
    arguments = ["explain", "--base", "B", "--base-flops", base_flops]
    return CliRunner().invoke(
        main, [*arguments, "--modification-flops", modification, *more]
    )


EXPLAINED = {
    "one FLOP more than 30 % of a known base meets the criterion": (
        ("1e24", "300000000000000000000001"),
        ("known-base", "3" + "0" * 23, True),
    ),
    "exactly 30 % of a known base does not": (
        ("1e24", "3e23"),
        ("known-base", "3" + "0" * 23, False),
    ),
    "an unknown base has the substitute": (
        ("unknown", "1e22"),
        ("unknown-base", "33" + "0" * 21, False),
    ),
    "an unknown base with systemic risk has the higher one": (
        ("unknown", "1e24", "--systemic"),
        ("systemic-base-unknown", "33" + "0" * 23, False),
    ),
    "a threshold that is not whole is a fraction": (
        ("100000000000000000000001", "0"),
        ("known-base", "300000000000000000000003/10", False),
    ),
}


@pytest.mark.parametrize(
    ("arguments", "expected"), EXPLAINED.values(), ids=EXPLAINED.keys()
)
def test_explained_threshold_is_exact(
    arguments: tuple[str, ...], expected: tuple[str, str, bool]
) -> None:
    """The rule, the limit to the FLOP, and whether the criterion is met."""
    result = explain(*arguments, "--json")
    found = json.loads(result.output)["policies"][0]

    assert result.exit_code == 0
    assert (found["rule"], found["limit"], found["exceeded"]) == expected


def test_explanation_reads_as_sentences() -> None:
    """A lawyer reads the answer first, then why, the rule and its source."""
    lines = explain("7.2e23", "1e22").output.splitlines()

    assert lines[0] == (
        "1e22 FLOPs are 4.62 % of the threshold of 2.16e23 FLOPs: the indicative"
        " criterion of policy eu-ai-act-30-percent, which governs, is not met. 2.06e23"
        " FLOPs are left."
    )
    assert lines[1].startswith("1e22 FLOPs are 4.16 % of the threshold of 2.4e23 FLOPs")
    assert lines[3].startswith("Why: B took 7.2e23 FLOPs to pre-train: 30 %")
    assert "C(2025) 5045 para. 63" in lines[5]


def told(*arguments: str) -> dict[str, Any]:
    """Return the JSON of `flopguard explain` with these arguments."""
    result = CliRunner().invoke(main, ["explain", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.output)
    return found


def limits(found: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    """Return limit and verdict by policy."""
    return {p["policy"]: (p["limit"], p["exceeded"]) for p in found["policies"]}


def test_all_policies_stand_side_by_side_the_default_first() -> None:
    """Each with its six fields; the governing one is named."""
    found = told("--base-flops", "8e22", "--modification-flops", "3e22")
    wanted = {"policy", "limit", "exceeded", "rule", "citation", "explanation"}

    assert limits(found) == {
        "eu-ai-act-30-percent": ("33" + "0" * 21, False),
        "commission-guidelines-2025": ("8" + "0" * 22 + "/3", True),
        "strictest": ("8" + "0" * 22 + "/3", True),
    }
    assert all(wanted <= each.keys() for each in found["policies"])
    assert found["governs"] == found["policies"][0]["policy"]


def test_recomputation_is_on_top_of_the_modification() -> None:
    """Some rule sets count it; the totals show it apart."""
    base = ("--base-flops", "2e23", "--modification-flops", "6e22")
    found = told(*base, "--recompute-flops", "1e22")

    assert [p["exceeded"] for p in found["policies"]] == [True, False, True]
    assert [p["counted"] for p in found["policies"]] == [
        "7" + "0" * 22,
        "6" + "0" * 22,
        "7" + "0" * 22,
    ]
    assert found["totals"]["modification_flops"] == "6" + "0" * 22
    assert found["totals"]["recompute_flops"] == "1" + "0" * 22
    assert found["totals"]["base_plus_modification_flops"] == "27" + "0" * 22


def test_a_bare_figure_counts_as_disclosed_and_a_derived_one_does_not() -> None:
    """The default takes the substitute for an estimate; the Guidelines take it."""
    base = ("--base-flops", "2e23", "--modification-flops", "1e22")

    assert limits(told(*base)) == limits(told(*base, "--disclosed"))
    assert limits(told(*base, "--derived")) == {
        "eu-ai-act-30-percent": ("33" + "0" * 21, False),
        "commission-guidelines-2025": ("2" + "0" * 23 + "/3", False),
        "strictest": ("33" + "0" * 21, False),
    }


def test_a_name_alone_is_looked_up_in_the_catalogue() -> None:
    """What others estimated stands in the answer, and what the catalogue has to say."""
    found = told("--base", "meta-llama/Llama-3.1-8B", "--modification-flops", "1e22")

    assert found["base"]["flops"] is None
    assert found["base"]["estimate_low"] == "72" + "0" * 22
    assert "derived by others" in found["base"]["catalogue"]
    assert limits(found)["commission-guidelines-2025"] == ("24" + "0" * 22, False)


def test_the_sum_with_the_base_is_told() -> None:
    """8e22 and 2e22 are 1e23: one FLOP more is above it."""
    at, above = (
        told("--base-flops", "8e22", "--modification-flops", flops)["totals"]["lines"]
        for flops in ("2e22", "20000000000000000000001")
    )

    assert [at[0]["name"], at[0]["state"]] == ["gpai-result", "below"]
    assert above[0]["state"] == "crossed"


def test_another_policy_governs_where_it_is_asked_for(tmp_path: Path) -> None:
    """Also one of one's own; the verdicts of all others stay."""
    example = yaml.safe_load(HOUSE.read_text())["data"]["house-rules.yaml"]
    (tmp_path / "house.yaml").write_text(example)
    base = ("--base-flops", "1e24", "--modification-flops", "1e23")
    more = ("--rules", str(tmp_path / "house.yaml"), "--policy", "house-rules")
    found = told(*base, *more)

    assert found["governs"] == "house-rules"
    assert limits(found)["house-rules"] == ("1" + "0" * 23, True)
    assert len(found["policies"]) == 4
    assert found["duties"]
    assert found["notes"]


def policies(*arguments: str) -> Result:
    """Run `flopguard policies`."""
    return CliRunner().invoke(main, ["policies", *arguments])


def test_policies_are_listed_shown_and_validated(tmp_path: Path) -> None:
    """The example is a good one; the canonical text has the digest that is printed."""
    example = yaml.safe_load(HOUSE.read_text())["data"]["house-rules.yaml"]
    (tmp_path / "house.yaml").write_text(example)
    listed = json.loads(policies("list", "--json").output)["policies"]
    shown = json.loads(policies("show", "strictest", "--json").output)
    text = json.dumps(shown["rule_set"], sort_keys=True, separators=(",", ":"))
    card = policies("show", "commission-guidelines-2025").output

    assert listed[0]["name"] == "eu-ai-act-30-percent"
    assert hashlib.sha256(text.encode()).hexdigest() == shown["digest"]
    assert listed[2]["digest"] == shown["digest"]
    assert "Rule third [base disclosed]: 1/3 of the base" in card
    assert "Art. 101" in card
    assert policies("validate", str(tmp_path / "house.yaml")).exit_code == 0


def test_a_wrong_policy_gets_a_sentence_and_a_code(tmp_path: Path) -> None:
    """1 for a file that is no rule set, 2 for one that is not there."""
    (tmp_path / "bad.yaml").write_text("name: x\n")
    bad = policies("validate", str(tmp_path / "bad.yaml"))
    unknown = policies("show", "strict")
    missing = policies("validate", str(tmp_path / "none.yaml"))

    assert (bad.exit_code, unknown.exit_code, missing.exit_code) == (1, 2, 2)
    assert "version: Field required" in bad.stderr
    assert "choose one of: commission-guidelines-2025" in unknown.stderr


BAD = {
    "no number": ("a lot", "1e22", 'write it like "3.3e22"'),
    "a negative base": ("-1e22", "1e22", "is not a FLOPs figure"),
    "a base of nothing": ("0", "1e22", 'or write "unknown"'),
    "an unknown modification": ("1e24", "unknown", 'write it like "3.3e22"'),
    "a figure beyond all bounds": ("1e24", "9e99", "above the largest figure"),
}


@pytest.mark.parametrize(("base", "used", "says"), BAD.values(), ids=BAD.keys())
def test_bad_figure_gets_a_sentence(base: str, used: str, says: str) -> None:
    """The message shows what a figure looks like; the exit code is 2."""
    result = explain(base, used)

    assert result.exit_code == 2
    assert says in " ".join(result.stderr.split())


def commands(command: click.Command, name: str = "") -> list[tuple[str, click.Command]]:
    """Return each command below one, with the words that call it."""
    if not isinstance(command, click.Group):
        return [(name.strip(), command)]
    context = click.Context(command)
    return [
        found
        for each in command.list_commands(context)
        if (below := command.get_command(context, each)) is not None
        for found in commands(below, f"{name} {each}")
    ]


@pytest.mark.parametrize("name", [name for name, _ in commands(main)])
def test_help_teaches_by_example_and_names_the_exit_codes(name: str) -> None:
    """Each command shows itself in use, as it has to be typed."""
    result = CliRunner().invoke(main, [*name.split(), "--help"])

    assert result.exit_code == 0
    assert f"{name} " in result.output.partition("Examples:")[2]
    assert "Exit codes:" in result.output
