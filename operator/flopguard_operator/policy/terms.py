"""Define what a run is judged by (terms) and on (totals).

Plain frozen dataclasses: they are written into the ledger, so that anybody can replay
every verdict offline with nothing but these modules.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

DEFAULT_POLICY = "eu-ai-act-30-percent"
GIVEN = "given"
"""The method of a range that whoever gave the figure gave with it."""


@dataclass(frozen=True)
class BaseModel:
    """The model that is fine-tuned, with what is known of its pre-training compute."""

    name: str = ""
    pretraining_flops: int | None = None
    """Disclosed by the provider or given with a source; None where not known."""
    source: str = ""
    systemic_risk: bool = False
    estimate_low: int | None = None
    """FLOPs as others derived them, the least of several, or the figure itself where it
    was given as a range; None where nobody did."""
    estimate_high: int | None = None
    """The most of the same; None where there is one figure only."""
    method: str = ""
    """How the estimate was made: derived_6ND, derived_hardware, speculative, ..."""


@dataclass(frozen=True)
class Budget:
    """The user's own limit. Compared with ≥: at the limit it is spent."""

    max_flops: int | None = None
    percent_of_threshold: int | None = None
    """Instead of `max_flops`: this percentage of the governing threshold."""
    warn_at_percent: tuple[int, ...] = (50, 80, 95)
    on_warn: str = "Annotate"  # Annotate | Nothing
    on_breach: str = "Suspend"  # Suspend | Annotate


@dataclass(frozen=True)
class Approach:
    """What to do as the legal threshold nears, in percent of it."""

    warn_at_percent: tuple[int, ...] = (20, 50, 80)
    hold_at_percent: int = 95
    on_approach: str = "Suspend"  # Suspend | Annotate | Nothing


@dataclass(frozen=True)
class Terms:
    """Everything but the count that a verdict on one run depends on."""

    policy: str = DEFAULT_POLICY
    base: BaseModel = field(default_factory=BaseModel)
    budget: Budget | None = None
    approach: Approach = field(default_factory=Approach)


@dataclass(frozen=True)
class Totals:
    """The FLOPs of one run over all of its streams.

    `measured` ≤ truth ≤ `upper`, the truth being what was executed up to the last mark
    of each stream, or up to now where a gap is charged.
    """

    done: Mapping[str, int] = field(default_factory=dict)  # category → FLOPs
    begun: int = 0
    gaps: int = 0  # charged for the time in which nothing was heard
    imported: int = 0  # of a program: jobs that were not metered, their high estimates

    @property
    def measured(self) -> int:
        """FLOPs that are proven to have been executed."""
        return sum(self.done.values())

    @property
    def upper(self) -> int:
        """FLOPs that may have been executed: verdicts are judged on this."""
        return max(self.begun, self.measured) + self.gaps + self.imported


@dataclass(frozen=True)
class Decided:
    """What people decided, or left open, beside the terms."""

    allowed: int = 0
    """FLOPs below which a decision lets go on what the threshold would hold."""
    stopped: str = ""
    """Who decided that nothing goes on, and why; "" if nobody did."""
    missing: tuple[str, ...] = ()
    """What has to be named before the first run starts."""


NOTHING_DECIDED = Decided()
