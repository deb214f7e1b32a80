"""Draw the use of a run over time as one inline SVG, readable without colour.

The picture repeats what the tables say, so its text alternative is short. Coordinates
are floats; no figure that anybody relies on is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction

from flopguard_operator.flops import display
from flopguard_operator.report.escaping import as_html
from flopguard_operator.report.facts import Point, SubjectFacts
from flopguard_operator.report.timeline import HELD, PROOF, RELEASE, WARNING

_WIDTH, _HEIGHT = 900, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 190, 20, 50
_MOST_POINTS = 600
_MARKED = {WARNING: "#8a4b00", HELD: "#a11212", PROOF: "#a11212", RELEASE: "#1a6b2f"}
_FAR = 20  # a line this many times above the use would flatten the curve to nothing
_LABEL_GAP = 13  # pixels between two labels, so that none covers another


@dataclass(frozen=True)
class Line:
    """A horizontal line: FLOPs, its label, and how it is dashed."""

    flops: int | Fraction
    label: str
    dash: str


def chart(run: SubjectFacts) -> str:
    """Return a `<figure>` with the SVG, or a sentence where nothing is to be drawn."""
    points = thin(run.points)
    if not points or points[-1].upper == 0:
        return "<p>Nothing has been counted yet.</p>\n"
    lines, far = split_far(limit_lines(run), points[-1].upper)
    heights = [points[-1].upper, *(line.flops for line in lines)]
    top = max(Fraction(flops) for flops in heights)
    frame = _Frame([point.at for point in points], top * Fraction(21, 20))
    body = (
        _axes(frame, points)
        + _lines(frame, lines)
        + _events(frame, run)
        + _curve(frame, [p.measured for p in points], 'stroke-dasharray="5 3"')
        + _curve(frame, [p.upper for p in points], 'stroke-width="3"')
    )
    name = as_html(run.name)
    beyond = "".join(
        f" Not drawn, far above: {line.label}, {display(line.flops)} FLOPs."
        for line in far
    )
    return (
        f'<figure>\n<div class="wide" role="region" tabindex="0"'
        ' aria-label="FLOPs over time">\n'
        f'<svg role="img" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
        f' font-family="system-ui, sans-serif" font-size="11">\n'
        f"<title>FLOPs used by {name} over time, with its limits</title>\n{body}"
        f"</svg>\n</div>\n<figcaption>Thick: upper bound. Dashed curve: measured."
        f" Horizontal: limits and warnings. Vertical: what happened.{beyond}"
        f"</figcaption>\n</figure>\n"
    )


def thin(points: Sequence[Point]) -> tuple[Point, ...]:
    """Return at most `_MOST_POINTS` of the points, the first and the last included."""
    step = -(-len(points) // _MOST_POINTS) or 1
    kept = points[::step]
    return tuple(kept if not points or kept[-1] == points[-1] else [*kept, points[-1]])


def limit_lines(run: SubjectFacts) -> list[Line]:
    """Return the limits of a run and its warning percentages, as lines to draw."""
    lines: list[Line] = []
    if run.terms is None or run.threshold is None:
        return lines
    budget = run.terms.budget
    if budget is not None and run.budget is not None:
        lines.append(Line(run.budget, "budget", ""))
        for percent in sorted(set(budget.warn_at_percent)):
            part = Fraction(run.budget) * percent / 100
            lines.append(Line(part, f"budget {percent} %", "2 4"))
    approach, limit = run.terms.approach, run.threshold.limit
    lines.append(Line(limit, "threshold", "10 3 2 3"))
    if approach.on_approach != "Nothing":
        part = Fraction(limit) * approach.hold_at_percent / 100
        lines.append(Line(part, f"threshold {approach.hold_at_percent} %", "10 3 2 3"))
    for percent in sorted(set(approach.warn_at_percent)):
        part = Fraction(limit) * percent / 100
        lines.append(Line(part, f"threshold {percent} %", "2 4"))
    return sorted(lines, key=lambda line: Fraction(line.flops))


def split_far(lines: Sequence[Line], used: int) -> tuple[list[Line], list[Line]]:
    """Return the lines to draw, and the limits that are too far above `used` for it."""
    near = [line for line in lines if line.flops <= used * _FAR]
    limits = [line for line in lines if line.label in {"budget", "threshold"}]
    return near, [line for line in limits if line not in near]


class _Frame:
    """Map time and FLOPs to the coordinates of the picture."""

    def __init__(self, ats: Sequence[str], top: Fraction) -> None:
        times = [_milliseconds(at) for at in ats]
        known = [time for time in times if time is not None]
        # Where the times make no sense, the order of the entries is all there is.
        self.timed = len(known) == len(times) and known == sorted(known)
        self.instants = known if self.timed else list(range(len(times)))
        self.first = self.instants[0]
        self.span = max(1, self.instants[-1] - self.first)
        self.top = top

    def x(self, instant: int) -> float:
        part = Fraction(instant - self.first, self.span)
        part = min(Fraction(1), max(Fraction(0), part))
        return round(_LEFT + float(part * (_WIDTH - _LEFT - _RIGHT)), 1)

    def y(self, flops: int | Fraction) -> float:
        height = _HEIGHT - _TOP - _BOTTOM
        return round(_TOP + height - float(Fraction(flops) / self.top * height), 1)


def _milliseconds(at: str) -> int | None:
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        return None
    since = moment.replace(tzinfo=moment.tzinfo or UTC) - datetime(
        1970, 1, 1, tzinfo=UTC
    )
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


def _axes(frame: _Frame, points: Sequence[Point]) -> str:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    ticks = "".join(
        f'<text x="{_LEFT - 6}" y="{frame.y(value) + 4}" text-anchor="end">'
        f"{display(value)}</text>\n"
        for value in (int(frame.top * part / 4) for part in range(5))
    )
    first, last = as_html(points[0].at[:19]), as_html(points[-1].at[:19])
    return (
        f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="#1b1b1b"/>\n'
        f'{ticks}<text x="{_LEFT}" y="{bottom + 18}">{first}</text>\n'
        f'<text x="{right}" y="{bottom + 18}" text-anchor="end">{last}</text>\n'
        f'<text x="{(_LEFT + right) / 2}" y="{bottom + 36}" text-anchor="middle">'
        f"time (UTC)</text>\n"
        f'<text x="{_LEFT + 6}" y="{_TOP - 6}" text-anchor="middle">FLOPs</text>\n'
    )


def _lines(frame: _Frame, lines: Sequence[Line]) -> str:
    drawn: list[str] = []
    label_y = float(_HEIGHT)
    for line in lines:
        y = frame.y(line.flops)
        label_y = min(y + 4, label_y - _LABEL_GAP)
        right = _WIDTH - _RIGHT
        drawn.append(
            f'<path d="M{_LEFT} {y}H{right}" stroke="#444"'
            f' stroke-dasharray="{line.dash or "none"}"/>\n'
            f'<text x="{right + 6}" y="{round(label_y, 1)}">'
            f"{as_html(line.label)}: {display(line.flops)}</text>\n"
        )
    return "".join(drawn)


def _events(frame: _Frame, run: SubjectFacts) -> str:
    drawn: list[str] = []
    # What was committed together is one line in the picture.
    told = {(m.at, m.kind): m for m in run.timeline if m.kind in _MARKED}
    for moment in list(told.values())[-_MOST_POINTS:]:
        at = _milliseconds(moment.at)
        if at is None or not frame.timed:
            continue
        x, colour = frame.x(at), _MARKED[moment.kind]
        text = as_html(f"{moment.at} {moment.kind}: {moment.text}")
        drawn.append(
            f'<path d="M{x} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="{colour}"'
            f' stroke-width="1.5"><title>{text}</title></path>\n'
            f'<text x="{x - 4}" y="{_HEIGHT - _BOTTOM - 4}" fill="{colour}"'
            f' transform="rotate(-90 {x - 4} {_HEIGHT - _BOTTOM - 4})">'
            f"{as_html(moment.kind)}</text>\n"
        )
    return "".join(drawn)


def _curve(frame: _Frame, values: Sequence[int], style: str) -> str:
    """Draw steps: between two entries nothing more is known than the earlier one."""
    path: list[str] = []
    for instant, value in zip(frame.instants, values, strict=True):
        x, y = frame.x(instant), frame.y(value)
        path.append(f"H{x}V{y}" if path else f"M{x} {y}")
    colour = "#0b4f9e"
    return f'<path d="{"".join(path)}" fill="none" stroke="{colour}" {style}/>\n'
