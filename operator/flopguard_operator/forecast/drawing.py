"""Draw a comparison as one inline SVG, readable without colour and without the page."""

from fractions import Fraction

from flopguard_operator.estimate.model import Bounds
from flopguard_operator.flops import display
from flopguard_operator.forecast.comparing import Comparison
from flopguard_operator.report.escaping import as_html

_WIDTH, _LEFT, _RIGHT, _TOP = 900, 90, 60, 56
_ROW, _BAR = 54, 18
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;color:#1b1b1b;background:#fff;"
    "max-width:62rem;margin:2rem auto;padding:0 1rem}svg{width:100%;height:auto}"
    "li{overflow-wrap:anywhere}"
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def svg(found: Comparison) -> str:
    """Return the forecasts as ranges, one row for each method, with the lines."""
    top = Fraction(max([found.most, *(line.flops for line in found.drawn)])) * 21 / 20
    bottom = _TOP + _ROW * len(found.projections)
    rows = "".join(
        _row(method, one.total, _TOP + _ROW * place, top)
        for place, (method, one) in enumerate(found.projections)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {bottom + 60}"'
        f' role="img" font-family="system-ui, sans-serif" font-size="13">\n'
        f"<title>{as_html(_title(found))}</title>\n"
        f'<rect width="{_WIDTH}" height="{bottom + 60}" fill="#fff"/>\n'
        f"{_axis(bottom, top)}{rows}{_lines(found, bottom, top)}</svg>\n"
    )


def page(found: Comparison) -> str:
    """Return a page with the drawing and what was assumed; it asks for nothing else."""
    title = as_html(_title(found))
    said = "".join(f"<li>{as_html(each)}</li>\n" for each in found.assumptions)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{title}</h1>\n{svg(found)}<p>{as_html(found.threshold.explanation)}"
        f" Source: {as_html(found.threshold.citation)}.</p>\n"
        f"<h2>What was assumed</h2>\n<ul>\n{said}</ul>\n</main>\n</body>\n</html>\n"
    )


def _title(found: Comparison) -> str:
    return f"FLOPs of fine-tuning {found.base.name or 'the model'}, by method"


def _x(flops: int | Fraction, top: Fraction) -> float:
    wide = _WIDTH - _LEFT - _RIGHT
    return round(_LEFT + float(Fraction(flops) / top * wide), 1)


def _row(method: str, total: Bounds, y: int, top: Fraction) -> str:
    low, expected, high = total.low, total.expected, total.high
    x0, x, x1 = _x(low, top), _x(expected, top), _x(high, top)
    middle = y + _BAR / 2
    label = f"{display(expected)} ({display(low)} to {display(high)})"
    return (
        f'<text x="{_LEFT - 10}" y="{middle + 5}" text-anchor="end"'
        f' font-weight="bold">{as_html(method)}</text>\n'
        f'<rect x="{x0}" y="{y}" width="{max(2.0, round(x1 - x0, 1))}" height="{_BAR}"'
        f' fill="#b9d3ee" stroke="#0b4f9e"/>\n'
        f'<path d="M{x} {y - 4}V{y + _BAR + 4}" stroke="#0b4f9e" stroke-width="4"/>\n'
        f'<text x="{max(x0, _LEFT + 4)}" y="{y + _BAR + 16}">{label} FLOPs</text>\n'
    )


def _axis(bottom: int, top: Fraction) -> str:
    ticks = "".join(
        f'<text x="{_x(value, top)}" y="{bottom + 22}" text-anchor="middle">'
        f"{display(value)}</text>\n"
        for value in (int(top * part / 4) for part in range(5))
    )
    return (
        f'<path d="M{_LEFT} {_TOP - 12}V{bottom}H{_WIDTH - _RIGHT}" fill="none"'
        f' stroke="#1b1b1b"/>\n{ticks}'
        f'<text x="{_WIDTH // 2}" y="{bottom + 46}" text-anchor="middle">FLOPs of the'
        f" whole run; range, and what is expected (thick)</text>\n"
    )


def _lines(found: Comparison, bottom: int, top: Fraction) -> str:
    drawn = []
    for place, line in enumerate(found.drawn):
        x, y = _x(line.flops, top), 18 + 16 * place
        anchor = "end" if x > _WIDTH / 2 else "start"
        aside = -6 if anchor == "end" else 6
        drawn.append(
            f'<path d="M{x} {y - 10}V{bottom}" stroke="#a11212" stroke-width="2"'
            f' stroke-dasharray="8 4"/>\n<text x="{x + aside}" y="{y}"'
            f' text-anchor="{anchor}" fill="#a11212">{as_html(line.name)}:'
            f" {display(line.flops)}</text>\n"
        )
    far = [line for line in found.lines if line not in found.drawn]
    told = ", ".join(f"{line.name} {display(line.flops)}" for line in far)
    if told:
        drawn.append(
            f'<text x="{_WIDTH - 10}" y="{18 + 16 * len(found.drawn)}"'
            f' text-anchor="end">far above: {as_html(told)}</text>\n'
        )
    return "".join(drawn)
