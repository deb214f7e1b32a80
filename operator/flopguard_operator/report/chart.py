"""Draw the use of a run or program over time as inline SVG, readable without colour.

The picture repeats what the tables say, so its text alternative is short. It is drawn
twice, for a broad and for a narrow screen; only one is shown. Coordinates are floats;
no figure that anybody relies on is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from flopguard_operator.flops import display
from flopguard_operator.forecast.history import milliseconds
from flopguard_operator.forecast.outlook import Reach
from flopguard_operator.report.escaping import as_html
from flopguard_operator.report.facts import Point, SubjectFacts
from flopguard_operator.report.frame import BROAD, NARROW, Frame, Size
from flopguard_operator.report.timeline import HELD, PROOF, RELEASE, WARNING

_MOST_POINTS = 600
_MARKED = {WARNING: "#8a4b00", HELD: "#a11212", PROOF: "#a11212", RELEASE: "#1a6b2f"}
_FAR = 20  # a line this many times above the use would flatten the curve to nothing
_LABEL_GAP = 13  # between two labels, so that none covers another
_MOST_AHEAD = 3  # times the past; a forecast beyond it is only told
_BLUE = "#0b4f9e"


@dataclass(frozen=True)
class Line:
    """A horizontal line: FLOPs, its label, and how it is dashed."""

    flops: int | Fraction
    label: str
    dash: str


def chart(subject: SubjectFacts) -> str:
    """Return a `<figure>` with the SVG, or a sentence where nothing is to be drawn."""
    points = thin(subject.points)
    if not points or points[-1].upper == 0:
        return "<p>Nothing has been counted yet.</p>\n"
    lines, far = split_far(limit_lines(subject), points[-1].upper)
    beyond = "".join(
        f" Not drawn, far above: {line.label}, {display(line.flops)} FLOPs."
        for line in far
    )
    is_foreseen = bool(coming(subject, points, lines))
    foreseen = " Dotted: forecast, shaded with its interval." if is_foreseen else ""
    drawn = "".join(_svg(subject, points, lines, size) for size in (BROAD, NARROW))
    return (
        f"<figure>\n{drawn}<figcaption>Thick: upper bound. Dashed curve: measured."
        f"{foreseen}"
        " Horizontal: limits and warnings. Vertical: what happened, told in the"
        f" timeline.{beyond}</figcaption>\n</figure>\n"
    )


def _svg(
    subject: SubjectFacts, points: Sequence[Point], lines: Sequence[Line], size: Size
) -> str:
    heights = [points[-1].upper, *(line.flops for line in lines)]
    top = max(Fraction(flops) for flops in heights)
    ahead = coming(subject, points, lines)
    end = ahead[0].latest if ahead else None
    frame = Frame(size, [point.at for point in points], top * Fraction(21, 20), end)
    body = (
        _axes(frame, points)
        + _lines(frame, lines)
        + _events(frame, subject)
        + _forecast(frame, subject, points, ahead)
        + _curve(frame, [p.measured for p in points], 'stroke-dasharray="5 3"')
        + _curve(frame, [p.upper for p in points], 'stroke-width="3"')
        + _labels(frame, lines)
    )
    return (
        f'<svg class="{size.name}" role="img" viewBox="0 0 {size.width} {size.height}"'
        ' font-family="system-ui, sans-serif" font-size="12">\n'
        f"<title>FLOPs used by {as_html(subject.name)} over time, with its limits"
        f"</title>\n{body}</svg>\n"
    )


def thin(points: Sequence[Point]) -> tuple[Point, ...]:
    """Return at most `_MOST_POINTS` of the points, the first and the last included."""
    step = -(-len(points) // _MOST_POINTS) or 1
    kept = points[::step]
    return tuple(kept if not points or kept[-1] == points[-1] else [*kept, points[-1]])


def limit_lines(subject: SubjectFacts) -> list[Line]:
    """Return the limits and the warning percentages, as lines to draw."""
    lines: list[Line] = []
    if subject.terms is None or subject.threshold is None:
        return lines
    budget = subject.terms.budget
    if budget is not None and subject.budget is not None:
        lines.append(Line(subject.budget, "budget", ""))
        for percent in sorted(set(budget.warn_at_percent)):
            part = Fraction(subject.budget) * percent / 100
            lines.append(Line(part, f"budget {percent} %", "2 4"))
    approach, limit = subject.terms.approach, subject.threshold.limit
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


def _axes(frame: Frame, points: Sequence[Point]) -> str:
    size = frame.size
    ticks = "".join(
        f'<text class="tick" x="{size.left - 6}" y="{frame.y(value) + 4}"'
        ' text-anchor="end">'
        f"{display(value, 2)}</text>\n"
        for value in (int(frame.top * part / 4) for part in range(5))
    )
    first, last = (as_html(told) for told in frame.edges(points[0].at, points[-1].at))
    below = size.bottom + 18
    return (
        f'<path d="M{size.left} {size.top}V{size.bottom}H{size.right}" fill="none"'
        f' stroke="#1b1b1b"/>\n{ticks}'
        f'<text x="{size.left}" y="{below}">{first}</text>\n'
        f'<text x="{size.right}" y="{below}" text-anchor="end">{last}</text>\n'
        f'<text x="{(size.left + size.right) / 2}" y="{below + 18}"'
        ' text-anchor="middle">time (UTC)</text>\n'
        f'<text x="{size.left}" y="{size.top - 8}" text-anchor="middle">FLOPs</text>\n'
    )


def _lines(frame: Frame, lines: Sequence[Line]) -> str:
    size = frame.size
    return "".join(
        f'<path d="M{size.left} {frame.y(line.flops)}H{size.right}" stroke="#444"'
        f' stroke-dasharray="{line.dash or "none"}"/>\n'
        for line in lines
    )


def _labels(frame: Frame, lines: Sequence[Line]) -> str:
    """Name the lines: beside the plot, or above all else on it where it is narrow."""
    size, drawn = frame.size, list[str]()
    label_y = float(size.height)
    x, anchor, lift = (
        (size.right + 6, "start", 4) if size.beside else (size.right, "end", -3)
    )
    for line in lines:
        label_y = min(frame.y(line.flops) + lift, label_y - _LABEL_GAP)
        drawn.append(
            f'<text x="{x}" y="{round(label_y, 1)}" text-anchor="{anchor}"'
            ' stroke="#fff" stroke-width="3" paint-order="stroke">'
            f"{as_html(line.label)}: {display(line.flops)}</text>\n"
        )
    return "".join(drawn)


def _events(frame: Frame, subject: SubjectFacts) -> str:
    size, drawn, free = frame.size, list[str](), -float(_LABEL_GAP)
    # What was committed together is one line in the picture.
    told = {(m.at, m.kind): m for m in subject.timeline if m.kind in _MARKED}
    for moment in list(told.values())[-_MOST_POINTS:]:
        at = milliseconds(moment.at)
        if at is None or not frame.timed:
            continue
        x, colour = frame.x(at), _MARKED[moment.kind]
        text = as_html(f"{moment.at} {moment.kind}: {moment.text}")
        drawn.append(
            f'<path d="M{x} {size.top}V{size.bottom}" stroke="{colour}"'
            f' stroke-width="1.5"><title>{text}</title></path>\n'
        )
        if x - free >= _LABEL_GAP:  # else the one before would be written over
            free = x
            drawn.append(
                f'<text x="{x - 4}" y="{size.bottom - 6}" fill="{colour}"'
                f' transform="rotate(-90 {x - 4} {size.bottom - 6})"'
                ' stroke="#fff" stroke-width="3" paint-order="stroke">'
                f"{as_html(moment.kind)}</text>\n"
            )
    return "".join(drawn)


def coming(
    subject: SubjectFacts, points: Sequence[Point], lines: Sequence[Line]
) -> tuple[Reach, ...]:
    """Return the nearest forecast if it can be drawn beside the past."""
    first, last = (milliseconds(point.at) for point in (points[0], points[-1]))
    drawn = {line.label for line in lines}
    if first is None or last is None or not subject.reaches:
        return ()
    nearest = subject.reaches[0]
    is_near = nearest.latest - last <= _MOST_AHEAD * (last - first)
    return (nearest,) if is_near and nearest.line in drawn else ()


def _forecast(
    frame: Frame, subject: SubjectFacts, points: Sequence[Point], ahead: Sequence[Reach]
) -> str:
    """Draw where the use is going: a line, and the interval of its arrival."""
    limits = {line.label: line.flops for line in limit_lines(subject)}
    if not ahead or not frame.timed:
        return ""
    reach = ahead[0]
    x, y = frame.x(frame.instants[-1]), frame.y(points[-1].upper)
    top = frame.y(limits[reach.line])
    early, likely, late = map(frame.x, (reach.earliest, reach.at, reach.latest))
    return (
        f'<path d="M{x} {y}L{early} {top}L{late} {top}Z" fill="{_BLUE}"'
        ' fill-opacity="0.15"><title>interval of the forecast</title></path>\n'
        f'<path d="M{x} {y}L{likely} {top}" stroke="{_BLUE}" stroke-width="2"'
        ' stroke-dasharray="2 3"><title>forecast</title></path>\n'
        f'<text x="{likely}" y="{top - 5}" text-anchor="end" fill="{_BLUE}"'
        ' stroke="#fff" stroke-width="3" paint-order="stroke">forecast</text>\n'
    )


def _curve(frame: Frame, values: Sequence[int], style: str) -> str:
    """Draw steps: between two entries nothing more is known than the earlier one."""
    path: list[str] = []
    for instant, value in zip(frame.instants, values, strict=True):
        x, y = frame.x(instant), frame.y(value)
        path.append(f"H{x}V{y}" if path else f"M{x} {y}")
    return f'<path d="{"".join(path)}" fill="none" stroke="{_BLUE}" {style}/>\n'
