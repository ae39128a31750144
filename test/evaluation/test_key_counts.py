# SPDX-License-Identifier: Apache-2.0
"""Exact counting of float32 scores."""

from __future__ import annotations

import numpy as np
import torch

from densehybrid_ros.evaluation.key_counts import KeyCounts, holds_nan, keys_of_scores, run_lengths, scores_of_keys


def test_keys_order_like_scores_and_invert_and_nan_lies_beyond_the_infinities() -> None:
    bits = np.random.default_rng(3).integers(0, 2**32, 20_000, dtype=np.uint64).astype(np.uint32)
    special = np.array([np.inf, -np.inf, 0.0, 1e-45, -1e-45, np.finfo(np.float32).max], dtype=np.float32)
    scores = np.concatenate((bits.view(np.float32), special))
    scores = np.unique(scores[~np.isnan(scores)])
    keys = keys_of_scores(scores)
    assert np.all(np.diff(keys.astype(np.int64)) > 0)
    np.testing.assert_array_equal(scores_of_keys(keys), scores)
    np.testing.assert_array_equal(keys_of_scores(torch.from_numpy(scores)).numpy(), keys)
    zero, minus_zero = keys_of_scores(np.array([0.0, -0.0], dtype=np.float32)).tolist()
    assert zero == minus_zero
    assert not holds_nan(keys)
    for nan in (np.nan, -np.nan):
        assert holds_nan(keys_of_scores(np.array([1.0, nan], dtype=np.float32)))


def _add(counts: KeyCounts, keys: np.ndarray) -> None:
    counts.add(*run_lengths(np.sort(keys)))


def _contents(counts: KeyCounts) -> dict[int, int]:
    return {
        int(key): int(count)
        for page in counts.descending_pages()
        for key, count in zip(*counts.page_entries(page), strict=True)
    }


def _batches() -> list[np.ndarray]:
    """Sparse, dense and heavily tied stretches, negative and positive, across page borders."""
    rng = np.random.default_rng(5)
    return [
        np.concatenate(
            (
                rng.integers(-(2**31), 2**31 - 1, 100),
                rng.integers(-70_000, 90_000, 30_000),
                rng.normal(131_072, 40, 20_000).astype(np.int64),
                np.full(70_000, -65_536),
            )
        ).astype(np.int32)
        for _ in range(3)
    ]


def test_counts_equal_a_plain_count() -> None:
    counts = KeyCounts()
    batches = _batches()
    for batch in batches:
        _add(counts, batch)
    values, occurrences = np.unique(np.concatenate(batches), return_counts=True)
    assert _contents(counts) == dict(zip(values.tolist(), occurrences.tolist(), strict=True))
    assert counts.total == occurrences.sum()
    assert counts.nbytes < 4 * sum(map(len, batches))
    for page in counts.descending_pages():
        chosen = values >> 16 == page
        assert counts.page_total(page) == occurrences[chosen].sum()
        keys = np.unique(np.concatenate((values[chosen], [page << 16, (page << 16) + 65_535]))).astype(np.int64)
        at_least, above = counts.at_least_and_above(page, keys)
        inside, weights = values[chosen], occurrences[chosen]
        for index in range(0, len(keys), max(len(keys) // 8, 1)):
            assert at_least[index] == weights[inside >= keys[index]].sum()
            assert above[index] == weights[inside > keys[index]].sum()
