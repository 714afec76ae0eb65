"""Line charts as one SVG document, drawn by hand: a title, a few lines, their legend, the largest
value. No library: a picture in the documentation is worth no dependency.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH, HEIGHT, COLUMNS, GAP = 310, 196, 4, 10
_TOP, _BOTTOM, _SIDE = 34, 48, 10
_COLOURS = ("#2f6fde", "#d9541e", "#2b9348", "#8a4fbf", "#c9a227", "#1f9aa8", "#b5446e", "#666666")
_LEGEND_ROWS = 3


class Line(NamedTuple):
    """A legend, and (x, y) in rising order of x."""

    legend: str
    points: Sequence[tuple[float, float]]


class Chart(NamedTuple):
    """A title, a unit as it is written behind a number, and lines."""

    title: str
    unit: str
    lines: Sequence[Line]


def document(title: str, charts: Sequence[Chart]) -> str:
    """All charts beside and below each other."""
    rows = -(-len(charts) // COLUMNS)
    width, height = COLUMNS * (WIDTH + GAP) + GAP, rows * (HEIGHT + GAP) + GAP + 26
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="10">',
        f'<rect width="{width}" height="{height}" fill="#f4f5f7"/>',
        f'<text x="{GAP}" y="20" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    for number, chart in enumerate(charts):
        left = GAP + number % COLUMNS * (WIDTH + GAP)
        top = 26 + GAP + number // COLUMNS * (HEIGHT + GAP)
        parts.append(f'<g transform="translate({left},{top})">{"".join(_drawn(chart))}</g>')
    return "\n".join([*parts, "</svg>\n"])


def _drawn(chart: Chart) -> Iterable[str]:
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white" stroke="#d5d8dc"/>'
    yield f'<text x="8" y="16" font-weight="bold" font-size="11">{escape(chart.title)}</text>'
    moments = [x for line in chart.lines for x, _ in line.points]
    values = [y for line in chart.lines for _, y in line.points]
    if not values:
        return
    start, end, most = min(moments), max(moments), max(values) or 1.0
    floor = HEIGHT - _BOTTOM
    yield f'<text x="8" y="29" fill="#777">{escape(number(max(values)))} {chart.unit}</text>'
    for y in (_TOP, (_TOP + floor) / 2, floor):
        yield f'<path d="M{_SIDE} {y}H{WIDTH - _SIDE}" stroke="#e6e8eb"/>'
    for at, line in enumerate(chart.lines):
        colour = _COLOURS[at % len(_COLOURS)]
        places = [
            (_SIDE + (x - start) / ((end - start) or 1) * (WIDTH - 2 * _SIDE),
             floor - y / most * (floor - _TOP))
            for x, y in line.points
        ]  # fmt: skip
        path = "L".join(f"{x:.0f} {y:.1f}" for x, y in places)
        yield f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.4"/>'
    yield from _legends(chart.lines, floor + 13)


def _legends(lines: Sequence[Line], top: int) -> Iterable[str]:
    """Three beside each other where they are short, else two."""
    columns, chars = (3, 15) if all(len(line.legend) <= 15 for line in lines) else (2, 25)
    most = columns * _LEGEND_ROWS
    for at, line in enumerate(lines[:most]):
        x, y = 8 + at % columns * (WIDTH - 10) // columns, top + at // columns * 13
        yield f'<rect x="{x}" y="{y - 7}" width="7" height="7" fill="{_COLOURS[at]}"/>'
        yield f'<text x="{x + 10}" y="{y}">{escape(line.legend[:chars])}</text>'
    if len(lines) > most:
        yield (f'<text x="{WIDTH - 8}" y="16" fill="#777" text-anchor="end">'
               f"and {len(lines) - most} more</text>")  # fmt: skip


def number(value: float) -> str:
    """Three digits are enough."""
    for size, name in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if name == 'k' else size):.3g}{name}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
