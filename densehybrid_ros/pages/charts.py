"""Line charts as inline SVG, without any library or network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#444444", "#b00058")
"""Line colours that people with colour-blindness tell apart as well (after Okabe and Ito)."""

_WIDTH, _HEIGHT = 520, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 16, 34, 46


class Series(NamedTuple):
    """One line: its name and its points, a nan in y interrupts it; dashed where it is not ours."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dashed: bool = False


class Axis(NamedTuple):
    """An axis: what it shows and its range; logarithmic to base 10 where ``log`` is set."""

    label: str
    low: float
    high: float
    log: bool = False
    ticks: tuple[float, ...] = ()

    def position(self, value: float) -> float:
        """Maps a value to 0..1 along the axis; values beyond its ends to the ends."""
        low, high = self.low, self.high
        if self.log:
            low, high = math.log10(low), math.log10(high)
            value = math.log10(max(value, self.low))
        return min(max((value - low) / (high - low), 0.0), 1.0)

    def tick_values(self) -> list[float]:
        """Where the axis is labelled: as given, at the powers of ten, or in fifths."""
        if self.ticks:
            return list(self.ticks)
        if self.log:
            first, last = round(math.log10(self.low)), round(math.log10(self.high))
            return [10.0**exponent for exponent in range(first, last + 1)]
        return [self.low + (self.high - self.low) * step / 5 for step in range(6)]


def line_chart(title: str, x_axis: Axis, y_axis: Axis, series: Sequence[Series], markers: bool = False) -> str:
    """Draws a chart with a legend below its title.

    Args:
        title: Above the chart.
        x_axis: Horizontal axis.
        y_axis: Vertical axis.
        series: The lines; their colours repeat after the eighth.
        markers: Draw a dot at each point.

    Returns:
        An ``svg`` element.
    """
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}" '
        'xmlns="http://www.w3.org/2000/svg">',
        f'<text class="title" x="{_LEFT}" y="20">{escape(title)}</text>',
        *_grid(x_axis, y_axis),
    ]
    for index, line in enumerate(series):
        parts += _line(line, x_axis, y_axis, COLORS[index % len(COLORS)], markers)
    return "\n".join([*parts, "</svg>"])


def marker(x_axis: Axis, value: float) -> str:
    """A vertical line at a value of the horizontal axis, to be put into a chart: a ``line`` element."""
    x = _x(x_axis, value)
    return f'<line class="marker" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{_HEIGHT - _BOTTOM}"/>'


def legend(names: Sequence[str]) -> str:
    """An HTML legend for charts whose series come in the order of ``names``."""
    items = (
        f'<span><i style="background:{COLORS[index % len(COLORS)]}"></i>{escape(name)}</span>'
        for index, name in enumerate(names)
    )
    return f'<div class="legend">{"".join(items)}</div>'


def round_up(value: float) -> float:
    """Returns the end of an axis from 0 that takes ``value`` (above 0) and whose fifths are round numbers."""
    unit = 10.0 ** math.floor(math.log10(value / 5))
    return next(5 * unit * step for step in (1, 2, 4, 5, 10) if 5 * unit * step >= value * (1 - 1e-9))


def _x(axis: Axis, value: float) -> float:
    return _LEFT + axis.position(value) * (_WIDTH - _LEFT - _RIGHT)


def _y(axis: Axis, value: float) -> float:
    return _HEIGHT - _BOTTOM - axis.position(value) * (_HEIGHT - _TOP - _BOTTOM)


def _grid(x_axis: Axis, y_axis: Axis) -> list[str]:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = []
    for value in x_axis.tick_values():
        x = _x(x_axis, value)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}"/>')
        parts.append(f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{bottom + 16}">{value:g}</text>')
    for value in y_axis.tick_values():
        y = _y(y_axis, value)
        parts.append(f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" text-anchor="end" x="{_LEFT - 6}" y="{y + 4:.1f}">{value:g}</text>')
    middle_x, middle_y = (_LEFT + right) / 2, (_TOP + bottom) / 2
    parts.append(
        f'<text class="axis" text-anchor="middle" x="{middle_x}" y="{_HEIGHT - 8}">{escape(x_axis.label)}</text>'
    )
    parts.append(
        f'<text class="axis" text-anchor="middle" transform="translate(14 {middle_y}) rotate(-90)">'
        f"{escape(y_axis.label)}</text>"
    )
    return parts


def _line(line: Series, x_axis: Axis, y_axis: Axis, color: str, markers: bool) -> list[str]:
    commands: list[str] = []
    dots: list[str] = []
    pen_up = True
    for x, y in zip(line.x, line.y, strict=True):
        if math.isnan(y):
            pen_up = True
            continue
        place = f"{_x(x_axis, x):.1f} {_y(y_axis, y):.1f}"
        commands.append(f"{'M' if pen_up else 'L'}{place}")
        pen_up = False
        if markers:
            cx, cy = place.split()
            dots.append(f'<circle cx="{cx}" cy="{cy}" r="3.2" fill="{color}"/>')
    name = escape(line.name)
    style = f'fill="none" stroke="{color}" stroke-width="1.8"' + (' stroke-dasharray="5 4"' if line.dashed else "")
    path = f'<path d="{" ".join(commands)}" {style}><title>{name}</title></path>'
    return [path, *dots]
