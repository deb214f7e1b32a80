"""Compare the ways to tune a model on the same data, beside its limits. Pure.

Everything that is printed, drawn or written as JSON comes from here.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from flopguard_operator.flops import display, percent
from flopguard_operator.forecast.plan import FULL, LORA, QLORA, Plan
from flopguard_operator.forecast.planned import Projection, of_plan
from flopguard_operator.policy.rules import Governing, governing
from flopguard_operator.policy.rulesets import RuleSet
from flopguard_operator.policy.terms import BaseModel

COMPARED = (FULL, LORA, QLORA)
_FAR = 20  # a line this many times above the largest forecast is named, not drawn
_BAR = 44  # characters


@dataclass(frozen=True)
class Line:
    """A limit that the forecasts are held against."""

    name: str
    flops: int | Fraction
    strict: bool  # crossed above it; else already at it

    def crossed_by(self, flops: int) -> bool:
        """Say whether a total crosses the line."""
        return flops > self.flops if self.strict else flops >= self.flops


@dataclass(frozen=True)
class Comparison:
    """Forecasts by method, and the lines."""

    base: BaseModel
    policy: str
    threshold: Governing
    lines: tuple[Line, ...]  # the lowest first
    projections: tuple[tuple[str, Projection], ...]

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What was assumed, each sentence with the methods that it is about."""
        told: dict[str, list[str]] = {}
        for method, one in self.projections:
            for sentence in one.assumptions:
                told.setdefault(sentence, []).append(method)
        whole = len(self.projections)
        return tuple(
            sentence if len(names) == whole else f"{', '.join(names)}: {sentence}"
            for sentence, names in told.items()
        )

    @property
    def drawn(self) -> tuple[Line, ...]:
        """The lines that are near enough to stand beside the forecasts."""
        most = self.most
        return tuple(line for line in self.lines if line.flops <= _FAR * most)

    @property
    def most(self) -> int:
        """The largest forecast, in FLOPs."""
        return max(one.total.high for _, one in self.projections)


def compare(
    plan: Plan,
    base: BaseModel,
    rules: RuleSet,
    budget: int | None,
    methods: Iterable[str] = COMPARED,
) -> Comparison:
    """Return the forecast of a plan by each of some methods.

    Raises:
        PlanError: the plan says too little, or contradicts itself.
        PolicyError: no rule of it fits the base.
    """
    threshold = governing(base, rules)
    lines = [Line("threshold", threshold.limit, strict=rules.strict)]
    if budget is not None:
        lines.append(Line("budget", budget, strict=False))
    return Comparison(
        base=base,
        policy=rules.name,
        threshold=threshold,
        lines=tuple(sorted(lines, key=lambda line: line.flops)),
        projections=tuple(
            (method, of_plan(replace(plan, method=method))) for method in methods
        ),
    )


def as_json(found: Comparison) -> dict[str, Any]:
    """Return the comparison as JSON values; FLOPs are digits, limits may be "p/q"."""
    return {
        "schema": 1,
        "base": found.base.name,
        "policy": found.policy,
        "lines": [
            {"name": line.name, "flops": str(line.flops)} for line in found.lines
        ],
        "forecasts": [_row(found, method, one) for method, one in found.projections],
    }


def _row(found: Comparison, method: str, one: Projection) -> dict[str, Any]:
    total = one.total
    return {
        "method": method,
        "basis": one.basis,
        "low": str(total.low),
        "expected": str(total.expected),
        "high": str(total.high),
        "percent": {
            line.name: percent(total.expected, line.flops) for line in found.lines
        },
        "crosses": [
            line.name for line in found.lines if line.crossed_by(total.expected)
        ],
        "may_cross": [line.name for line in found.lines if line.crossed_by(total.high)],
        "assumptions": list(one.assumptions),
    }


def in_words(found: Comparison) -> str:
    """Return the comparison as lines for a terminal; names are not yet escaped."""
    top = max([found.most, *(line.flops for line in found.drawn)])
    rows = [
        f"{method:6} {display(one.total.low):>8} {display(one.total.expected):>8} "
        f"{display(one.total.high):>8}  {_bar(one, found, top)}  {_says(found, one)}"
        for method, one in found.projections
    ]
    lines = [_named(line, found) for line in found.lines]
    said = [f"- {sentence}" for sentence in found.assumptions]
    head = f"{'':6} {'low':>8} {'expected':>8} {'high':>8}  FLOPs"
    scale = f"{'':35}0{display(top):>{_BAR - 1}}"
    told = ["Assumed:", *said] if said else ["Nothing had to be assumed."]
    return "\n".join([head, *rows, scale, "", *lines, "", *told])


def _bar(one: Projection, found: Comparison, top: int | Fraction) -> str:
    """Return a forecast as a bar: `-` its range, `o` what is expected, `|` lines."""
    cells = [" "] * _BAR

    def cell(flops: int | Fraction) -> int:
        return min(_BAR - 1, int(Fraction(flops) * (_BAR - 1) / top))

    for place in range(cell(one.total.low), cell(one.total.high) + 1):
        cells[place] = "-"
    for line in found.drawn:
        cells[cell(line.flops)] = "|"
    cells[cell(one.total.expected)] = "o"
    return "".join(cells)


def _says(found: Comparison, one: Projection) -> str:
    crossed = [ln.name for ln in found.lines if ln.crossed_by(one.total.expected)]
    if crossed:
        return f"crosses {' and '.join(crossed)}"
    may = [line.name for line in found.lines if line.crossed_by(one.total.high)]
    return f"may cross {' and '.join(may)}" if may else "below all lines"


def _named(line: Line, found: Comparison) -> str:
    drawn = "|" if line in found.drawn else "far above, not drawn:"
    text = f"{drawn} {line.name}: {display(line.flops)} FLOPs"
    if line.name == "threshold":
        text += f" ({found.policy}). {found.threshold.explanation}"
    return text
