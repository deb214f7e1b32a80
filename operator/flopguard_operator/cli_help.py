"""Write what stands at the end of each `--help`, and read figures of FLOPs.

Every command needs it, so it imports next to nothing.
"""

import click

from flopguard_operator.flops import FlopsError, parse

EXPORT = (
    "kubectl exec -n flopguard POD -- \\",
    "  python3 -m flopguard_operator.cli ledger export > ledger.jsonl",
)
_EXIT_CODES = """
\b
Exit codes:
  0  done, and everything holds
  1  something does not hold: the ledger was changed, or is not one
  2  not everything could be read or checked, or the command was misspelt
"""


def epilog(*examples: str) -> str:
    """Return examples and exit codes as they stand at the end of a `--help`.

    Examples are set as they are; click would fill the lines of a docstring.
    """
    lines = "\n".join(f"  {line}" for line in examples)
    return f"\b\nExamples:\n{lines}\n{_EXIT_CODES}"


def figure(_: click.Context, option: click.Parameter, text: str) -> int:
    """Return the FLOPs that an option was given, exact."""
    try:
        return parse(text)
    except FlopsError as error:
        raise click.BadParameter(str(error), param=option) from error


def optional_figure(
    context: click.Context, option: click.Parameter, text: str | None
) -> int | None:
    """Return the same; None where the option was not given."""
    return None if text is None else figure(context, option, text)


def optional_count(
    _: click.Context, option: click.Parameter, text: str | None
) -> int | None:
    """Return how many tokens or parameters an option was given; None without it."""
    if text is None:
        return None
    try:
        count = parse(text)
    except FlopsError:
        count = 0
    if count == 0:
        message = f'"{text[:40]}" is not a number from 1 to 1e30; write it like "2e9"'
        raise click.BadParameter(message, param=option)
    return count
