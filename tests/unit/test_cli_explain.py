"""`flopguard explain`, and the help that teaches every command."""

import json

import click
import pytest
from click.testing import CliRunner, Result

from flopguard_operator.cli import main


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
    return [
        found
        for each, below in command.commands.items()
        for found in commands(below, f"{name} {each}")
    ]


@pytest.mark.parametrize("name", [name for name, _ in commands(main)])
def test_help_teaches_by_example_and_names_the_exit_codes(name: str) -> None:
    """Each command shows itself in use, as it has to be typed."""
    result = CliRunner().invoke(main, [*name.split(), "--help"])

    assert result.exit_code == 0
    assert f"{name} " in result.output.partition("Examples:")[2]
    assert "Exit codes:" in result.output
