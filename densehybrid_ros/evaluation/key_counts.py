# SPDX-License-Identifier: Apache-2.0
"""An exact multiset of float32 scores in little memory: how often each distinct value occurred.

A float32 has at most 2^32 values, and the scores of a network share a few binades, so a data set's 10^9
pixels hold far fewer distinct values than pixels. Values are kept as 32-bit integer keys whose order is that
of the floats. The key's upper 16 bits choose a page; a page holds its lower 16 bits either as a sorted list
with counts (few values) or as one counter a value (many), and counters are as narrow as their largest count
allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Array = TypeVar("Array", np.ndarray, Tensor)

_PAGE_BITS = 16
_PAGE_SIZE = 1 << _PAGE_BITS
_OFFSET_MASK = _PAGE_SIZE - 1
_MAGNITUDE_MASK = 0x7FFFFFFF
_INFINITY_KEY = 0x7F800000
_DENSE_FROM = _PAGE_SIZE // 8  # a dense page takes up to 2.7 times a sparse one's memory here, but is faster to add to
_COUNTER_TYPES = (np.uint8, np.uint16, np.uint32, np.int64)


def keys_of_scores(scores: Array) -> Array:
    """Maps float32 scores to int32 keys of the same order and shape, an array or a tensor on any device.

    -0.0 and 0.0 share a key, and NaNs lie beyond the keys of the infinities.
    """
    bits = (scores + 0.0).view(torch.int32 if isinstance(scores, Tensor) else np.int32)  # -0.0 + 0.0 is 0.0
    return bits ^ ((bits >> 31) & _MAGNITUDE_MASK)


def holds_nan(keys: Array) -> bool:
    """Whether any of the int32 ``keys`` stands for NaN."""
    return bool(len(keys)) and (int(keys.max()) > _INFINITY_KEY or int(keys.min()) < ~_INFINITY_KEY)


def scores_of_keys(keys: np.ndarray) -> np.ndarray:
    """Returns the float32 scores that int32 ``keys`` stand for (the inverse of ``keys_of_scores``)."""
    keys = np.asarray(keys, dtype=np.int32)
    return (keys ^ ((keys >> np.int32(31)) & np.int32(_MAGNITUDE_MASK))).view(np.float32)


def run_lengths(sorted_values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct values of a sorted array and how often each occurs (int64)."""
    is_first = np.ones(len(sorted_values), dtype=bool)
    np.not_equal(sorted_values[1:], sorted_values[:-1], out=is_first[1:])
    starts = np.flatnonzero(is_first)
    return sorted_values[starts], np.diff(starts, append=len(sorted_values))


@dataclass(frozen=True)
class _Page:
    """Counts of the 2^16 values of a page."""

    counts: np.ndarray
    offsets: np.ndarray | None  # the sorted uint16 values that occurred; None: one counter a value

    @property
    def nbytes(self) -> int:
        return self.counts.nbytes + (0 if self.offsets is None else self.offsets.nbytes)

    def entries(self) -> tuple[np.ndarray, np.ndarray]:
        """Offsets that occurred (ascending) and their counts, int64 both."""
        if self.offsets is None:
            occupied = np.flatnonzero(self.counts != 0)
            return occupied, self.counts[occupied].astype(np.int64)
        return self.offsets.astype(np.int64), self.counts.astype(np.int64)

    def dense(self) -> np.ndarray:
        """One int64 counter for each of the 2^16 values."""
        if self.offsets is None:
            return self.counts.astype(np.int64)
        counts = np.zeros(_PAGE_SIZE, dtype=np.int64)
        counts[self.offsets] = self.counts
        return counts


_EMPTY = _Page(np.zeros(0, np.uint8), np.zeros(0, np.uint16))


def _page_of_entries(offsets: np.ndarray, counts: np.ndarray) -> _Page:
    """Builds the representation that suits the number of sorted distinct offsets, with the narrowest counters."""
    largest = int(counts.max(initial=0))
    narrow = counts.astype(next(kind for kind in _COUNTER_TYPES if largest <= np.iinfo(kind).max))
    if len(offsets) < _DENSE_FROM:
        return _Page(narrow, offsets.astype(np.uint16))
    dense = np.zeros(_PAGE_SIZE, dtype=narrow.dtype)
    dense[offsets] = narrow
    return _Page(dense, None)


def _add_to_page(page: _Page, offsets: np.ndarray, counts: np.ndarray) -> _Page:
    """Returns ``page`` with distinct ``offsets`` counted ``counts`` times more; may reuse its memory."""
    if page.offsets is None:
        raised = page.counts[offsets] + counts
        if int(raised.max()) <= np.iinfo(page.counts.dtype).max:
            page.counts[offsets] = raised
            return page
    total = page.dense()
    total[offsets] += counts
    occupied = np.flatnonzero(total != 0)  # comparing first: NumPy finds set booleans several times faster
    return _page_of_entries(occupied, total[occupied])


class KeyCounts:
    """How often each int32 key occurred, ``total`` of them."""

    def __init__(self) -> None:
        self.total = 0
        self._pages: dict[int, _Page] = {}

    def add(self, keys: np.ndarray, counts: np.ndarray) -> None:
        """Counts ``keys`` (int32, ascending, distinct, one at least) ``counts`` times each (integers, at least 1)."""
        self.total += int(counts.sum())
        pages = np.arange(int(keys[0]) >> _PAGE_BITS, (int(keys[-1]) >> _PAGE_BITS) + 1)
        # Where each page begins; a page without keys begins where the next one does.
        edges = np.append(np.searchsorted(keys >> _PAGE_BITS, pages), len(keys))
        offsets = keys & _OFFSET_MASK
        for index in np.flatnonzero(np.diff(edges)):
            chosen = slice(edges[index], edges[index + 1])
            number = int(pages[index])
            old = self._pages.get(number)
            made = offsets[chosen], counts[chosen]
            self._pages[number] = _page_of_entries(*made) if old is None else _add_to_page(old, *made)

    @property
    def nbytes(self) -> int:
        """Memory of the pages in bytes."""
        return sum(page.nbytes for page in self._pages.values())

    def descending_pages(self) -> list[int]:
        """Numbers of the pages that hold keys, those of the highest keys first."""
        return sorted(self._pages, reverse=True)

    def page_entries(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Keys of one page, ascending, and their counts (int64 both)."""
        offsets, counts = self._pages.get(number, _EMPTY).entries()
        return offsets + (number << _PAGE_BITS), counts

    def page_total(self, number: int) -> int:
        """Number of keys counted in one page."""
        return int(self._pages.get(number, _EMPTY).counts.sum(dtype=np.int64))

    def at_least_and_above(self, number: int, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Counts the keys of one page that are at least, and that are above, each of ``keys`` (int64 [n]) of it."""
        page = self._pages.get(number, _EMPTY)
        wanted = keys & _OFFSET_MASK
        suffix = np.append(np.cumsum(page.counts[::-1], dtype=np.int64)[::-1], 0)
        if page.offsets is None:
            return suffix[wanted], suffix[wanted + 1]
        wanted = wanted.astype(np.uint16)
        left, right = (np.searchsorted(page.offsets, wanted, side) for side in ("left", "right"))
        return suffix[left], suffix[right]

    def merge(self, other: KeyCounts) -> None:
        """Adds what another has counted."""
        for number in sorted(other._pages):
            self.add(*other.page_entries(number))

    def scores(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields page for page, ascending, the scores (float64, of float32 ones) and their counts (int64)."""
        for number in sorted(self._pages):
            keys, counts = self.page_entries(number)
            yield scores_of_keys(keys).astype(np.float64), counts

    def binned(self, low: float, high: float, bins: int) -> np.ndarray:
        """Counts the scores in bins of one width, float64 [bins]; those beyond the ends count in the outermost bins."""
        total = np.zeros(bins)
        for scores, counts in self.scores():
            total += np.histogram(np.clip(scores, low, high), bins, (low, high), weights=counts)[0]
        return total
