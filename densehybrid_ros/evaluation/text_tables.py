# SPDX-License-Identifier: Apache-2.0
"""Tables as plain text: simple ones, and those of papers with groups of rows and columns under headings."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

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
    columns: list[list[str]] = []
    for cells in zip(header, *rows, strict=True):
        width = max(map(len, cells)) if not columns or cells[0] == "from" else 0
        columns.append([cell.ljust(width) for cell in cells])
    _, *lines = _part("", list(zip(*columns, strict=True)))
    return "\n".join(map(str.rstrip, lines))


def format_groups(corner: str, parts: Sequence[Part], groups: Sequence[Group]) -> str:
    """Lays out a table whose columns stand under headings and whose rows stand in groups.

    ``corner`` names the first column. Parts that would make it wider than ``WIDEST`` stand in a further one below.
    """
    rows = [row for _, own in groups for row in own]
    first = max(map(len, [corner, *(who for who, _ in rows)]))
    blocks: list[list[list[str]]] = []
    width, begin = WIDEST, 0
    for heading, figures in parts:
        end = begin + len(figures)
        lines = _part(heading, [figures, *(cells[begin:end] for _, cells in rows)])
        if width + 2 + len(lines[0]) > WIDEST:
            blocks.append([["", corner, "-" * first, *(who for who, _ in rows)]])
            width = first
        blocks[-1].append(lines)
        width += 2 + len(lines[0])
        begin = end
    texts = []
    for column, *shown in blocks:
        lines = ["  ".join([name.ljust(first), *cells]) for name, *cells in zip(column, *shown, strict=True)]
        text, body = lines[0 if any(cells[0].strip() for cells in shown) else 1 : 3], iter(lines[3:])
        for title, own in groups:
            text += [*([title] if title else []), *islice(body, len(own))]
        texts.append("\n".join(text))
    return "\n\n".join(texts)


def _part(heading: str, cells: Sequence[Sequence[str]]) -> list[str]:
    """The lines of columns under a heading: it, their names, a rule and the rows, all of one length."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    widths[0] += max(0, len(heading) - sum(widths) - 2 * (len(widths) - 1))
    names, *rows = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
    return [heading.rjust(len(names)), names, "  ".join("-" * width for width in widths), *rows]
