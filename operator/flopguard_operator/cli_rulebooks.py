"""Open rule sets for the command line: the shipped ones, and custom ones in files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from flopguard_operator.cli_files import MismatchError, told
from flopguard_operator.ledger.entries import Entry
from flopguard_operator.ledger.policies import in_use, noted_in
from flopguard_operator.policy.rulesets import RuleSet
from flopguard_operator.report.escaping import as_line
from flopguard_operator.rulebooks import shipped

rules_option = click.option(
    "--rules",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="YAML with a rule set of one's own, as in the operator's ConfigMap. May be"
    " repeated.",
)


def rule_sets(files: tuple[Path, ...]) -> Mapping[str, RuleSet]:
    """Return the shipped rule sets with those of some files, by name."""
    found = dict(shipped())
    if not files:
        return found
    # An auditor's laptop, which has no pydantic, gives no rule sets of its own.
    from flopguard_operator.api.rulesets import load  # noqa: PLC0415 - see above
    from flopguard_operator.ruleshelf import read_text  # noqa: PLC0415 - see above

    with told():
        texts = [read_text(path) for path in files]
    try:
        return {**found, **load(texts, found)}
    except ValueError as error:  # SpecError
        raise MismatchError(as_line(str(error))) from error


def beside(
    entries: Sequence[Entry], known: Mapping[str, RuleSet]
) -> tuple[RuleSet, ...]:
    """Return the rule sets whose verdicts stand beside that of the one that governs.

    Args:
        entries: of a ledger; the rule sets that it was judged by are among them.
        known: the others, by name: the shipped ones, and those of files.
    """
    used = in_use(entries, noted_in(entries))
    return (*known.values(), *(used[name] for name in used if name not in known))
