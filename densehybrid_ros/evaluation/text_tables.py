# SPDX-License-Identifier: Apache-2.0
"""Tables as plain text: simple ones, and those of papers with groups of rows and columns under headings."""

from __future__ import annotations

from collections.abc import Sequence

WIDEST = 160
"""Columns of text that a table takes at most."""
Table = tuple[list[str], list[list[str]]]
"""Header and rows."""
Group = tuple[str, list[tuple[str, list[str]]]]
"""A title, empty for none, and rows below it: who, and a cell for each figure."""
Part = tuple[str, Sequence[str]]
"""A heading, empty for none, and the names of the figures below it."""


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lays out a plain-text table: the first column and one named "from" to the left, figures to the right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if column == 0 or header[column] == "from" else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return "\n".join([line(header), "  ".join("-" * width for width in widths), *(line(row) for row in rows)])


def format_groups(corner: str, parts: Sequence[Part], groups: Sequence[Group]) -> str:
    """Lays out a table whose columns stand under headings and whose rows stand in groups.

    Args:
        corner: Name of the first column.
        parts: Its columns; those that would make the table wider than ``WIDEST`` stand in a further one below.
        groups: Its rows.
    """
    first = max([len(corner), *(len(who) for _, rows in groups for who, _ in rows)])
    blocks: list[list[tuple[Part, list[int], slice]]] = [[]]
    width, begin = first, 0
    for heading, figures in parts:
        place = slice(begin, begin + len(figures))
        columns = [
            max([len(name), *(len(cells[begin + index]) for _, rows in groups for _, cells in rows)])
            for index, name in enumerate(figures)
        ]
        columns[0] += max(0, len(heading) - _width(columns))
        if blocks[-1] and width + 2 + _width(columns) > WIDEST:
            blocks.append([])
            width = first
        blocks[-1].append(((heading, figures), columns, place))
        width += 2 + _width(columns)
        begin = place.stop
    return "\n\n".join(_block(corner, first, block, groups) for block in blocks)


def _width(columns: Sequence[int]) -> int:
    return sum(columns) + 2 * (len(columns) - 1)


def _block(corner: str, first: int, block: list[tuple[Part, list[int], slice]], groups: Sequence[Group]) -> str:
    lines = []
    if any(heading for (heading, _), _, _ in block):
        lines.append("  ".join([" " * first, *(heading.rjust(_width(columns)) for (heading, _), columns, _ in block)]))
    widths = [width for _, columns, _ in block for width in columns]

    def line(who: str, cells: list[str]) -> str:
        padded = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        return "  ".join([who.ljust(first), *padded])

    lines.append(line(corner, [name for (_, figures), _, _ in block for name in figures]))
    lines.append("  ".join("-" * width for width in (first, *widths)))
    for title, rows in groups:
        if title:
            lines.append(title)
        lines += [line(who, [cell for _, _, place in block for cell in cells[place]]) for who, cells in rows]
    return "\n".join(lines)
