"""Define what the catalogue says of one base model: figures, each with its source.

A figure says who computed it and how. Only what a provider disclosed is *known*; what
others derived is an estimate; a guess counts for nothing. All of them are shown.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

DISCLOSED = "disclosed"
ESTIMATE = "estimate"
UNUSABLE = "not usable"


@dataclass(frozen=True)
class Method:
    """How a figure was obtained, and what that makes it worth."""

    standing: str  # DISCLOSED | ESTIMATE | UNUSABLE
    words: str


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "reported": Method(DISCLOSED, "disclosed by the model's provider"),
        "derived_6ND": Method(ESTIMATE, "derived by others: 6 x parameters x tokens"),
        "derived_hardware": Method(
            ESTIMATE, "derived by others from hardware and time"
        ),
        "derived_mixed": Method(ESTIMATE, "derived by others from several methods"),
        "speculative": Method(UNUSABLE, "a guess by others; never counts"),
        "not_stated": Method(UNUSABLE, "by a method that nobody states; never counts"),
        "undisclosed": Method(UNUSABLE, "nothing is published"),
    }
)


@dataclass(frozen=True)
class Figure:
    """FLOPs of a pre-training as one source has them."""

    value: int | None
    """None: the source was asked, and has no figure."""
    method: str  # a key of METHODS
    source: str
    date: str
    """When the source said so, or was asked: "2026-02" or "2026-02-14"."""
    low: int | None = None
    high: int | None = None
    confidence: str = ""
    """In the source's own word: Confident, Likely, Unverified, …"""
    url: str = ""
    dataset: str = ""
    """The copy of the source's data from which the figure was taken."""
    note: str = ""

    @property
    def standing(self) -> str:
        """What the figure is worth: DISCLOSED, ESTIMATE or UNUSABLE."""
        return METHODS[self.method].standing

    @property
    def bounds(self) -> tuple[int, int] | None:
        """Lower and upper bound in FLOPs; None without a figure."""
        if self.value is None:
            return None
        low = self.value if self.low is None else self.low
        high = self.value if self.high is None else self.high
        return low, high


@dataclass(frozen=True)
class Entry:
    """One base model, and every figure that is known for it."""

    id: str
    name: str
    figures: tuple[Figure, ...]
    hugging_face_id: str = ""
    aliases: tuple[str, ...] = ()
    """Other names of the same pre-training, such as its instruction-tuned weights."""
    provider: str = ""
    released: str = ""
    parameters: int | None = None
    active_parameters: int | None = None
    """Of a mixture of experts: what one token passes through."""
    tokens: int | None = None
    access: str = ""
    systemic_risk: bool = False
    """Whether a figure that counts is above the line of systemic risk, or the model is
    designated."""
    version: int = 1
    """A higher version of the same id replaces a lower one, as a whole."""
    origin: str = ""
    """Where a private entry was read from; "" for one that flopguard ships."""

    @property
    def names(self) -> tuple[str, ...]:
        """Everything by which the entry is looked up."""
        found = (self.hugging_face_id, self.name, self.id, *self.aliases)
        return tuple(dict.fromkeys(name for name in found if name))

    @property
    def disclosed(self) -> Figure | None:
        """The smallest figure that the provider disclosed; None if it did not."""
        return min(self._of(DISCLOSED), key=_low, default=None)

    @property
    def estimates(self) -> tuple[Figure, ...]:
        """The figures that others derived, the smallest first."""
        return tuple(sorted(self._of(ESTIMATE), key=_low))

    @property
    def estimated(self) -> tuple[int, int] | None:
        """The range of what others derived, in FLOPs; None without an estimate."""
        return span(self.estimates)

    @property
    def standing(self) -> str:
        """What the best figure is worth: DISCLOSED, ESTIMATE or UNUSABLE."""
        if self.disclosed is not None:
            return DISCLOSED
        return ESTIMATE if self.estimates else UNUSABLE

    def _of(self, standing: str) -> list[Figure]:
        return [
            figure
            for figure in self.figures
            if figure.standing == standing and figure.value is not None
        ]


def span(figures: Iterable[Figure]) -> tuple[int, int] | None:
    """Return the smallest and the largest bound of some figures."""
    bounds = [bound for figure in figures for bound in (figure.bounds or ())]
    return (min(bounds), max(bounds)) if bounds else None


def _low(figure: Figure) -> int:
    return figure.bounds[0] if figure.bounds else 0
