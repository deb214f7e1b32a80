"""Turn an entry of the catalogue into what a run is judged by, and into sentences.

Only a disclosed figure becomes the base's pre-training FLOPs. An estimate of others
travels beside it, and each policy says whether it counts. A name that the catalogue
does not hold stays unknown, whatever it looks like.
"""

from collections.abc import Sequence

from flopguard_operator.flops import display
from flopguard_operator.models.catalogue import Catalogue
from flopguard_operator.models.entries import METHODS, Entry, Figure
from flopguard_operator.policy.terms import BaseModel


def look_up(
    name: str, catalogue: Catalogue, *, systemic_risk: bool = False
) -> BaseModel:
    """Return a base model with what the catalogue knows of it.

    Args:
        name: as a person wrote it; it stays the base model's name.
        catalogue: where to look.
        systemic_risk: what the person says; the catalogue can only add to it.
    """
    entry = catalogue.find(name)
    if entry is None:
        return BaseModel(name, systemic_risk=systemic_risk)
    figure = _telling(entry)
    known = entry.disclosed
    low, high = (None, None) if known else (entry.estimated or (None, None))
    return BaseModel(
        name=name,
        pretraining_flops=known.value if known else None,
        source=source(entry, figure),
        systemic_risk=systemic_risk or entry.systemic_risk,
        estimate_low=low,
        estimate_high=None if high == low else high,
        method=figure.method,
    )


def source(entry: Entry, figure: Figure) -> str:
    """Return where a figure comes from: entry, version, date, source, address."""
    where = entry.origin or "catalogue"
    told = f"{figure.source}, {figure.url}" if figure.url else figure.source
    return f"{where}: {entry.id} version {entry.version}, {figure.date}: {told}"


def told(base: BaseModel, catalogue: Catalogue) -> str:
    """Return what the catalogue has to say to what is known of a base model.

    Returns:
        One or two sentences; "" where both say the same, or there is no name.
    """
    if not base.name:
        return ""
    entry = catalogue.find(base.name)
    if base.pretraining_flops is not None:
        return _compared(base.pretraining_flops, entry) if entry else ""
    if entry is None:
        return " ".join((_missed(base.name, catalogue), *catalogue.problems[:1]))
    return _not_known(entry)


def _compared(figure: int, entry: Entry) -> str:
    """Return how a figure differs from those that count in the catalogue."""
    low, high = (0, 0)
    if entry.disclosed is not None:
        low = high = entry.disclosed.value or 0
    elif entry.estimated is not None:
        low, high = entry.estimated
    if not high or low <= figure <= high:
        return ""
    most = "" if low == high else f" to {display(high)}"
    how = METHODS[_telling(entry).method].words
    return (
        f"The figure that is given, {display(figure)} FLOPs, is not that of the "
        f"catalogue: {display(low)}{most}, {how} ({_telling(entry).source})."
    )


def _not_known(entry: Entry) -> str:
    """Return what the catalogue has of a base model that nobody disclosed."""
    figure = _telling(entry)
    if entry.estimates:
        return (
            f"The catalogue has no figure of its provider; it is {as_range(entry)} "
            f"FLOPs as {METHODS[figure.method].words} ({figure.source}). That is an "
            f"estimate: it counts only in policies that say so."
        )
    if figure.value is None:
        return "The catalogue knows of no published figure."
    how = METHODS[figure.method].words
    return f"The catalogue has {display(figure.value)} FLOPs, {how} ({figure.source})."


def as_range(entry: Entry) -> str:
    """Return the estimates of others in short: "7.2e23 to 2.08e24"."""
    low, high = entry.estimated or (0, 0)
    return display(low) if low == high else f"{display(low)} to {display(high)}"


def listed(names: Sequence[str]) -> str:
    """Return names as people write them: "A, B or C"."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def _missed(name: str, catalogue: Catalogue) -> str:
    near = catalogue.suggest(name)
    if not near:
        return f'The catalogue has no "{name}".'
    return f'The catalogue has no "{name}"; did you mean {listed(near)}?'


def _telling(entry: Entry) -> Figure:
    """Return the figure that the entry is judged by, or the first one."""
    if entry.disclosed is not None:
        return entry.disclosed
    return entry.estimates[0] if entry.estimates else entry.figures[0]
