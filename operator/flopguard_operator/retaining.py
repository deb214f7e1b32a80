"""Decide for how long the ledger is kept, from what programs and settings ask. Pure.

There is one ledger for all, so the longest time that anybody asks for counts. The
operator only ever makes it longer; a shorter one takes a person (`flopguard ledger
retain`), whose word the default of the installation does not overrule.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from flopguard_operator.ledger.custody import DEFAULT_YEARS
from flopguard_operator.ledger.entries import RetentionSet

OPERATOR = "flopguard operator"
"""Who decided, where nobody but the fields of programs and settings did."""


@dataclass(frozen=True)
class Demand:
    """For how long somebody asks that the ledger is kept.

    A recorded decision of a person will be one more, with that person in `by`.
    """

    years: int
    reason: str
    by: str = OPERATOR


def due(
    known: RetentionSet | None, default: Demand, demands: Iterable[Demand]
) -> RetentionSet | None:
    """Return the entry to append; None where what the ledger says is long enough.

    Args:
        known: the ledger's newest word, None where it has none: 10 years.
        default: of the installation.
        demands: of programs.
    """
    decided = known is not None and known.by != OPERATOR
    asked = max(
        (*demands, *(() if decided else (default,))),
        key=lambda each: (each.years, each.reason),
        default=None,
    )
    if asked is None:
        return None
    if known is None:  # nobody has decided: an installation may begin with less
        enough = asked.years == DEFAULT_YEARS
    else:
        enough = asked.years <= known.years
    return None if enough else RetentionSet(asked.years, asked.by, asked.reason)
