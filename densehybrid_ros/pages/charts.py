# SPDX-License-Identifier: Apache-2.0
"""Charts as inline SVG, without any library or network: lines, histograms, matrices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

COLORS = ("#0a7bbd", "#d55e00", "#009e73", "#c0679a", "#8a6d00", "#2f93cf", "#7d858c", "#d0327f")
"""Line colours that show on white and on dark, and that people with colour-blindness tell apart (after Okabe, Ito)."""

_WIDTH, _HEIGHT = 520, 360
_SMALLEST_SHARE_WRITTEN = 0.005
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 16, 34, 46


class Series(NamedTuple):
    """One line: its name and its points, a nan in y interrupts it; dashed where it is not ours, with dots or not."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dashed: bool = False
    dots: bool = False


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
        """Where the axis is labelled: as given, at the powers of ten, or at round numbers about a fifth apart."""
        if self.ticks:
            return list(self.ticks)
        if self.log:
            first, last = round(math.log10(self.low)), round(math.log10(self.high))
            return [10.0**exponent for exponent in range(first, last + 1)]
        step = round_up(self.high - self.low) / 5
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [step * number for number in range(first, last + 1)]


def line_chart(title: str, x_axis: Axis, y_axis: Axis, series: Sequence[Series]) -> str:
    """Draws lines, whose colours repeat after the eighth, as an ``svg`` element."""
    parts = _grid(x_axis, y_axis)
    for index, line in enumerate(series):
        parts += _line(line, x_axis, y_axis, COLORS[index % len(COLORS)])
    return _drawing(title, _WIDTH, _HEIGHT, _LEFT, parts)


def histogram(title: str, x_axis: Axis, groups: Mapping[str, Sequence[float]]) -> str:
    """Draws how groups are spread, as overlapping steps whose areas are filled: an ``svg`` element.

    ``groups`` is name -> share of the group, in percent, in each bin; bins of one width divide the axis.
    """
    highest = max((share for shares in groups.values() for share in shares), default=0.0)
    y_axis = Axis("share of the pixels [%]", 0, round_up(max(highest, 0.1)))
    parts, bottom = _grid(x_axis, y_axis), _y(y_axis, 0)
    for index, (name, shares) in enumerate(groups.items()):
        color, width = COLORS[index % len(COLORS)], (x_axis.high - x_axis.low) / max(len(shares), 1)
        corners = [f"M{_x(x_axis, x_axis.low):.1f} {bottom:.1f}"]
        for place, share in enumerate(shares):
            left, right = (_x(x_axis, x_axis.low + width * edge) for edge in (place, place + 1))
            corners.append(f"L{left:.1f} {_y(y_axis, share):.1f}H{right:.1f}")
        style = f'fill="{color}" fill-opacity=".3" stroke="{color}" stroke-width="1.4"'
        parts.append(f'<path d="{"".join(corners)}V{bottom:.1f}Z" {style}><title>{escape(name)}</title></path>')
    return _drawing(title, _WIDTH, _HEIGHT, _LEFT, parts)


def matrix(title: str, names: Sequence[str], shares: Sequence[Sequence[float]]) -> str:
    """Draws a confusion matrix as an ``svg`` element.

    ``shares`` is [K][K]: of the pixels of each label, a row, how many are predicted as each class, 0..1. A row of nan
    stays empty.
    """
    cell, left, top = 34, 12 + 7 * max(map(len, names)), 34 + 7 * max(map(len, names))
    parts = []
    for row, (name, line) in enumerate(zip(names, shares, strict=True)):
        middle = top + cell * row + cell / 2
        parts.append(f'<text text-anchor="end" x="{left - 6}" y="{middle + 4}">{escape(name)}</text>')
        place = left + cell * row + cell / 2
        parts.append(f'<text transform="translate({place + 4} {top - 6}) rotate(-90)">{escape(name)}</text>')
        for column, share in enumerate(line):
            if math.isnan(share):
                continue
            x, y = left + cell * column, top + cell * row
            what = f"{escape(name)} called {escape(names[column])}: {100 * share:.2f} %"
            parts.append(
                f'<rect x="{x}" y="{y}" width="{cell - 1}" height="{cell - 1}" fill="{COLORS[0]}" '
                f'fill-opacity="{share:.3f}"><title>{what}</title></rect>'
            )
            if share >= _SMALLEST_SHARE_WRITTEN:
                strong = ' class="strong"' if share > 0.5 else ""
                place = x + cell / 2
                parts.append(
                    f'<text{strong} text-anchor="middle" x="{place}" y="{middle + 4}">{100 * share:.0f}</text>'
                )
    side = cell * len(names)
    return _drawing(title, left + side + 8, top + side + 8, 12, parts)


def _drawing(title: str, width: float, height: float, left: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}" '
        'xmlns="http://www.w3.org/2000/svg">'
    )
    return "\n".join([head, f'<text class="title" x="{left}" y="20">{escape(title)}</text>', *parts, "</svg>"])


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


def _line(line: Series, x_axis: Axis, y_axis: Axis, color: str) -> list[str]:
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
        if line.dots:
            cx, cy = place.split()
            dots.append(f'<circle cx="{cx}" cy="{cy}" r="3.2" fill="{color}"/>')
    name = escape(line.name)
    style = f'fill="none" stroke="{color}" stroke-width="1.8"' + (' stroke-dasharray="5 4"' if line.dashed else "")
    path = f'<path d="{" ".join(commands)}" {style}><title>{name}</title></path>'
    return [path, *dots]
