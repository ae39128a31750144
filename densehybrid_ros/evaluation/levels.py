"""Which level to take out of a model's score, measured on held-out data; see ``networks.score_level``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.curves import CurveMetrics
from densehybrid_ros.evaluation.dense_scores import ScoredFrame
from densehybrid_ros.evaluation.thresholds import anomaly_labels
from densehybrid_ros.networks import ScoreLevel
from densehybrid_ros.scores.model_score import ModelScore, Observation

PLAIN = "hybrid"
"""The score as the heads give it."""
_QUANTILES = (0.5, 0.75, 0.9)
_EVERY = 4  # row and column of a frame that quantiles are taken of


class LevelOffset(ModelScore):
    """What a level takes from the score, as a map; not a score by itself."""

    def __init__(self, level: ScoreLevel) -> None:
        self._level = level

    def __call__(self, seen: Observation) -> Tensor:
        """See ``ScoreLevel.offset``; float32 [B, h, w]."""
        return self._level.offset(seen.logits, seen.posterior)[:, 0]


def level_name(level: ScoreLevel) -> str:
    """What the hybrid on this level is called among scores."""
    return f"share {level.share:g}, reach {level.reach}, midpoint {level.midpoint:.4g}"


def inlier_quantiles(frames: Iterable[ScoredFrame]) -> tuple[float, float, float]:
    """Returns the scores that 50, 75 and 90 % of the known pixels of some frames stay below.

    Raises:
        InputError: The frames have no known pixel.
    """
    found = []
    for item in frames:
        labels = torch.from_numpy(anomaly_labels(item.frame))[::_EVERY, ::_EVERY]
        found.append(item.scores[PLAIN][::_EVERY, ::_EVERY].cpu()[labels == 0])
    scores = torch.cat(found).sort().values
    if not len(scores):
        raise InputError("the frames have no pixel that is labelled as known; take another set")
    middle, low, high = (float(scores[int(share * (len(scores) - 1))]) for share in _QUANTILES)
    return middle, low, high


def candidates(
    quantiles: Sequence[tuple[float, float, float]], shares: Sequence[float], reaches: Sequence[int]
) -> list[ScoreLevel]:
    """Every combination of share, reach and midpoint.

    Midpoints are the quantiles of that data set whose known pixels score highest: what is below them is clearly known.
    A third of the way between the upper two is the softness.

    Args:
        quantiles: What ``inlier_quantiles`` returned, for each data set.
        shares: Each within 0..1.
        reaches: Each at least 1.
    """
    middle, low, high = max(quantiles, key=lambda found: found[2])
    softness = max((high - low) / 3, 1e-3)
    return [
        ScoreLevel(share, reach, midpoint, softness)
        for midpoint in (middle, low, high)
        for reach in reaches
        for share in shares
    ]


def offsets(levels: Sequence[ScoreLevel]) -> dict[str, LevelOffset]:
    """What a ``FrameScorer`` is to compute for ``on_levels``, by ``level_name``."""
    return {level_name(level): LevelOffset(level) for level in levels}


def on_levels(frames: Iterable[ScoredFrame], levels: Sequence[ScoreLevel]) -> Iterator[ScoredFrame]:
    """Turns the offsets among the scores of frames into the hybrid score on each level."""
    names = {level_name(level) for level in levels}
    for item in frames:
        plain = item.scores[PLAIN]
        scores = {name: plain - values if name in names else values for name, values in item.scores.items()}
        yield replace(item, scores=scores)


def best_level(sets: Mapping[str, Mapping[str, CurveMetrics]], levels: Sequence[ScoreLevel]) -> ScoreLevel | None:
    """The level with the highest mean AP over the data sets; None where no level is better than the plain score.

    Args:
        sets: Data set -> score -> its figures; with ``PLAIN`` among the scores.
        levels: Those measured.
    """

    def mean(score: str) -> float:
        return sum(figures[score].average_precision for figures in sets.values()) / len(sets)

    best = max(levels, key=lambda level: (mean(level_name(level)), -level.share))
    return best if mean(level_name(best)) > mean(PLAIN) else None
