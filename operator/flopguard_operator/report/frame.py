"""Map time and FLOPs to the coordinates of a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from flopguard_operator.forecast.history import milliseconds
from flopguard_operator.report.moments import moment


@dataclass(frozen=True)
class Size:
    """A picture's size and the edges of the plot in it, in its own units."""

    name: str
    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    beside: bool
    """Whether labels stand beside the plot, or on it."""


BROAD = Size("broad", 900, 360, 70, 720, 24, 310, beside=True)
NARROW = Size("narrow", 340, 320, 48, 334, 24, 272, beside=False)


class Frame:
    """The mapping for one picture.

    Args:
        size: of the picture.
        ats: times of the points, RFC 3339.
        top: FLOPs at the upper edge.
        end: of the right edge if later than the last point, milliseconds since 1970.
    """

    def __init__(
        self, size: Size, ats: Sequence[str], top: Fraction, end: int | None = None
    ) -> None:
        times = [milliseconds(at) for at in ats]
        known = [time for time in times if time is not None]
        # Where the times make no sense, the order of the entries is all there is.
        self.timed = len(known) == len(times) and known == sorted(known)
        self.instants = known if self.timed else list(range(len(times)))
        self.first = self.instants[0]
        last = self.instants[-1]
        if end is not None and self.timed:
            last = max(last, end)
        self.span = max(1, last - self.first)
        self.top, self.size = top, size

    def x(self, instant: int) -> float:
        """Return where a moment lies, in milliseconds since 1970 or as an index."""
        part = Fraction(instant - self.first, self.span)
        part = min(Fraction(1), max(Fraction(0), part))
        width = self.size.right - self.size.left
        return round(self.size.left + float(part * width), 1)

    def y(self, flops: int | Fraction) -> float:
        """Return where a figure of FLOPs lies."""
        height = self.size.bottom - self.size.top
        return round(self.size.bottom - float(Fraction(flops) / self.top * height), 1)

    def edges(self, first: str, last: str) -> tuple[str, str]:
        """Return the times at both ends, as people read them.

        Args:
            first: of the first point, RFC 3339.
            last: of the last point; a forecast may end later.
        """
        end = moment(self.first + self.span) if self.timed else _short(last)
        return _short(first), end


def _short(at: str) -> str:
    return at[:16].replace("T", " ")
