"""Line charts as SVG, readable without anything else."""

import html
import math
from collections.abc import Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 14, 48
LEGEND_COLUMNS = 2
# Okabe & Ito's colours, which people with colour blindness can tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
DASHES = ("", "7 4", "2 3")  # for more lines than colours


class Point(NamedTuple):
    """A point with the range that it stands for, such as that of several seeds."""

    x: float
    y: float
    low: float
    high: float


def line_chart(
    lines: dict[str, Sequence[Point]],
    *,
    x_label: str,
    y_label: str,
    x_ticks: Sequence[float] = (),
    log_x: bool = False,
) -> str:
    """Return an SVG of lines by name, with a legend below; empty if there are no points.

    x_ticks: ends and marks of the x axis; by default round numbers from 0. log_x: it is
    logarithmic.
    """
    points = [point for line in lines.values() for point in line]
    if not points:
        return ""
    x_of = (lambda x: math.log10(max(x, 1e-9))) if log_x else (lambda x: x)
    x_ticks = x_ticks or _ticks(0, max(p.x for p in points))
    y_ticks = _ticks(min(0, *(p.low for p in points)), max(p.high for p in points))
    first, last = x_of(x_ticks[0]), x_of(x_ticks[-1])
    across = lambda x: _place(x_of(x), first, last, LEFT, WIDTH - RIGHT)  # noqa: E731
    up = lambda y: _place(y, y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP)  # noqa: E731
    rows = -(-len(lines) // LEGEND_COLUMNS)
    height = HEIGHT + 20 * rows
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'font-family="sans-serif" font-size="13" fill="#333">',
        f"<title>{html.escape(y_label)} over {html.escape(x_label)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
    ]
    for y in y_ticks:
        parts.append(_line(LEFT, up(y), WIDTH - RIGHT, up(y), "#ddd"))
        parts.append(_text(LEFT - 6, up(y) + 4, _number(y), "end"))
    for x in x_ticks:
        parts.append(_line(across(x), HEIGHT - BOTTOM, across(x), HEIGHT - BOTTOM + 4, "#999"))
        parts.append(_text(across(x), HEIGHT - BOTTOM + 18, _number(x), "middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_label, "middle"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text transform="translate(14 {middle:.1f}) rotate(-90)" text-anchor="middle">'
        f"{html.escape(y_label)}</text>"
    )
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        dash = DASHES[number // len(COLOURS) % len(DASHES)]
        style = f'stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"'
        path = " ".join(f"{across(p.x):.1f},{up(p.y):.1f}" for p in line)
        parts.append(f'<polyline points="{path}" fill="none" {style}/>')
        for p in line:
            if p.high > p.low:
                parts.append(_line(across(p.x), up(p.low), across(p.x), up(p.high), colour))
            parts.append(
                f'<circle cx="{across(p.x):.1f}" cy="{up(p.y):.1f}" r="3" fill="{colour}"/>'
            )
        row, column = divmod(number, LEGEND_COLUMNS)
        x, y = LEFT + 200 * column, HEIGHT + 12 + 20 * row
        parts.append(f'<line x1="{x}" y1="{y - 4}" x2="{x + 22}" y2="{y - 4}" {style}/>')
        parts.append(_text(x + 28, y, name, "start"))
    return "".join([*parts, "</svg>"])


def _place(value: float, first: float, last: float, start: float, end: float) -> float:
    share = (value - first) / (last - first) if last > first else 0.5
    return start + share * (end - start)


def _ticks(low: float, high: float) -> list[float]:
    """Return about five round numbers that enclose the range."""
    rough = max(high - low, 1e-9) / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * n for n in (1, 2, 5, 10) if power * n >= rough * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step - 1e-9)
    return [step * n for n in range(first, max(last, first + 1) + 1)]


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _number(value: float) -> str:
    return f"{value:.12g}" if abs(value) < 1e-9 or abs(value) >= 1e-3 else f"{value:.1e}"
