"""Fill the templates: a disclosure request that is ready to be sent. Pure.

A placeholder is a name in square brackets, in capital letters. What is not known stays
as it is, so that whoever sends the letter sees it.
"""

from collections.abc import Mapping

from flopguard_operator.flops import display
from flopguard_operator.models.entries import METHODS, Entry
from flopguard_operator.policy.terms import BaseModel
from flopguard_operator.report.escaping import as_markdown

UNKNOWN_NOW = "no published figure that we know of."


def fill(template: str, values: Mapping[str, str]) -> str:
    """Return a template with its placeholders filled in, as plain Markdown text.

    Args:
        template: with placeholders like [BASE MODEL].
        values: by the placeholder's name; an empty one leaves it as it is.
    """
    # Longest first, and never into what was filled in: a name may hold brackets.
    parts = [template]
    for name in sorted(values, key=len, reverse=True):
        if values[name]:
            told = as_markdown(values[name])
            parts = [piece for part in parts for piece in _split(part, name, told)]
    return "".join(str(part) for part in parts)


class _Filled(str):
    """Text that was filled in, and is not looked at again."""

    __slots__ = ()


def _split(part: str, name: str, told: str) -> list[str]:
    if isinstance(part, _Filled):
        return [part]
    pieces: list[str] = []
    for piece in part.split(f"[{name}]"):
        pieces += [piece, _Filled(told)]
    return pieces[:-1]


def disclosure_request(template: str, base: BaseModel, entry: Entry | None) -> str:
    """Return the letter that asks a provider for its figure.

    Args:
        template: the Markdown of `disclosure-request`.
        base: the base model.
        entry: what the catalogue has of it.
    """
    return fill(
        template,
        {
            "BASE MODEL": entry.name if entry else base.name or "the base model",
            "MODEL ID": (entry.hugging_face_id if entry else "") or base.name,
            "PROVIDER": entry.provider if entry else "",
            "KNOWN NOW": known_now(base),
        },
    )


def known_now(base: BaseModel) -> str:
    """Return what is known of a base model's compute without a disclosure."""
    if base.estimate_low is None:
        return UNKNOWN_NOW
    low, high = base.estimate_low, base.estimate_high
    least, most = display(low), display(low if high is None else high)
    span = f"about {least}" if least == most else f"between {least} and {most}"
    how = METHODS[base.method].words if base.method in METHODS else base.method
    return f"{span} FLOP, {how} ({base.source})."
