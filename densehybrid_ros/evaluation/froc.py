# SPDX-License-Identifier: Apache-2.0
"""Hazards of single frames judged by labelled obstacles: found and false ones at many thresholds (FROC)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from densehybrid_ros.datasets.evaluation_set import ANOMALY, EvaluationFrame
from densehybrid_ros.evaluation.calibration import anomaly_labels
from densehybrid_ros.evaluation.dense_scores import HYBRID, ScoredFrame
from densehybrid_ros.evaluation.distances import distance_map, obstacle_ids, obstacle_pixels
from densehybrid_ros.hazards.chain import HazardChain
from densehybrid_ros.hazards.regions import MaskedRegion
from densehybrid_ros.hazards.settings import HazardSettings

FOUND_SHARE = 0.1
"""Share of an obstacle's pixels that must lie in hazards for it to count as found."""
TRUE_SHARE = 0.1
"""Share of a hazard's labelled pixels that must be anomalous for it to be no false one."""
IGNORED_SHARE = 0.5
"""Share of a hazard's pixels above which, if they are ignored, it is no false one either."""
RATES = (0.1, 0.3, 1.0)
"""False hazards a frame at which recall is given."""
_AREAS = (200, 500, 2000)  # pixels; between classes of area
_MEANING = (
    f"hazards: regions of single frames that the hazard stage lets through, without tracks; found: obstacles with at "
    f"least {FOUND_SHARE:.0%} of their pixels in them; false: less than {TRUE_SHARE:.0%} of the labelled pixels are "
    f"anomalous; those with more than {IGNORED_SHARE:.0%} ignored pixels are counted apart"
)


@dataclass(frozen=True)
class StillStage:
    """The hazard stage as single frames go through it, without its tracks.

    ``min_area`` are the pixels of the smallest labelled obstacle that counts, ``named`` thresholds that are judged too.
    """

    chain: HazardChain
    settings: HazardSettings
    min_area: int = 50
    named: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class FrocPoint:
    """Obstacles found (by group, and all), and hazards on none or mostly on ignored pixels, at a threshold in nats."""

    threshold: float
    found: tuple[int, ...]
    false_hazards: int
    on_ignored: int
    all_found: int


@dataclass(frozen=True)
class Froc:
    """Free-response figures of a data set, by rising threshold.

    ``groups`` are numbers of obstacles by area and distance, ``problems`` numbers of frames by what the hazard stage
    names as a problem.
    """

    frames: int
    obstacles: int
    groups: dict[str, int]
    points: tuple[FrocPoint, ...]
    named: dict[str, float]
    problems: dict[str, int]

    def at_most(self, per_frame: float) -> tuple[FrocPoint, ...]:
        """Returns the points from the lowest threshold on from which none has more false hazards a frame."""
        chosen = len(self.points)
        while chosen and self.points[chosen - 1].false_hazards <= per_frame * self.frames:
            chosen -= 1
        return self.points[chosen:]

    def best(self, per_frame: float) -> FrocPoint | None:
        """Returns the point of the highest recall among ``at_most``, of several such the highest threshold."""
        return max(self.at_most(per_frame), key=lambda point: (point.all_found, point.threshold), default=None)

    def steps(self) -> list[tuple[float, FrocPoint]]:
        """Returns the curve: the false hazards a frame from which on the best point is another, and that point."""
        rising: list[tuple[float, FrocPoint]] = []
        for rate in sorted({point.false_hazards / self.frames for point in self.points}):
            point = self.best(rate)
            if point is not None and point.all_found > (rising[-1][1].all_found if rising else -1):
                rising.append((rate, point))
        return rising

    def columns(self) -> dict[str, FrocPoint | None]:
        """Returns the points of the table by name: at most so many false hazards a frame, then those of a name."""
        by_threshold = {point.threshold: point for point in self.points}
        rates = {f"at most {rate:g} false": self.best(rate) for rate in RATES}
        return rates | {name: by_threshold[value] for name, value in self.named.items()}

    def at(self) -> dict[str, dict[str, Any] | None]:
        """Returns what the table has as plain types: recalls in 0..1 (None without obstacles) and rates a frame."""

        def figures(point: FrocPoint) -> dict[str, Any]:
            groups = zip(self.groups.items(), point.found, strict=True)
            return {
                "threshold": point.threshold,
                "recall": point.all_found / self.obstacles if self.obstacles else None,
                "false_hazards_per_frame": point.false_hazards / self.frames,
                "on_ignored_per_frame": point.on_ignored / self.frames,
                "recall_by_group": {name: found / number if number else None for (name, number), found in groups},
            }

        return {name: None if point is None else figures(point) for name, point in self.columns().items()}

    def notes(self) -> list[str]:
        """Says what the figures mean, and what the hazard stage had to say."""
        return [_MEANING, *(f"hazards: {text} ({count} frames)" for text, count in sorted(self.problems.items()))]


class FrocAccumulator:
    """Sends the frames of a data set through the hazard stage at many thresholds and judges what comes out.

    The named thresholds of the stage are added to those given, in nats. Rising ``edges`` are of distance bins in
    metres; empty for none.
    """

    def __init__(self, stage: StillStage, thresholds: Iterable[float], edges: Sequence[float] = ()) -> None:
        self._stage, self._edges = stage, tuple(edges)
        self._thresholds = sorted({*thresholds, *stage.named.values()})
        self._areas = (stage.min_area, *(area for area in _AREAS if area > stage.min_area))
        groups = len(self._areas) + max(len(self._edges) - 1, 0)
        self._obstacles = np.zeros(groups, dtype=np.int64)
        self._found = np.zeros((len(self._thresholds), groups), dtype=np.int64)
        self._other = np.zeros((len(self._thresholds), 2), dtype=np.int64)  # false ones, those on ignored pixels
        self._frames = 0
        self._problems: Counter[str] = Counter()

    def update(self, item: ScoredFrame) -> None:
        """Takes in a frame with its hybrid score."""
        frame, labels, stage = item.frame, anomaly_labels(item.frame), self._stage
        score, semantic = item.scores[HYBRID].cpu().numpy(), item.prediction.cpu().numpy()
        obstacles, groups = self._grouped(frame, labels)
        self._obstacles += groups.sum(axis=0)
        self._frames += 1
        problems: set[str] = set()
        ground = None
        for index, threshold in enumerate(self._thresholds):
            unknown = score > threshold
            if not unknown.any():
                break
            found = stage.chain.detect(
                semantic, score, unknown, threshold, stage.settings, frame.camera, frame.disparity, ground
            )
            ground = found.ground
            problems |= set(found.problems)
            covered, other = judge_regions(found.regions, labels)
            self._other[index] += other
            hits = np.array([covered[pixels].mean() >= FOUND_SHARE for pixels in obstacles], dtype=bool)
            self._found[index] += groups[hits].sum(axis=0)
        self._problems.update(problems)

    def _grouped(
        self, frame: EvaluationFrame, labels: np.ndarray
    ) -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray]:
        """Returns (rows, columns) of each obstacle, and bool [obstacles, groups], the groups that it belongs to."""
        pixels = obstacle_pixels(obstacle_ids(labels, frame.instances))
        pixels = [own for own in pixels if len(own[0]) >= self._stage.min_area]
        groups = np.zeros((len(pixels), len(self._obstacles)), dtype=bool)
        areas = np.array([len(rows) for rows, _ in pixels])
        groups[np.arange(len(pixels)), np.searchsorted(self._areas, areas, side="right") - 1] = True
        if self._edges and frame.camera is not None:
            metres = distance_map(labels, frame.camera, frame.disparity, frame.instances)
            for own, (rows, columns) in zip(groups, pixels, strict=True):
                where = metres[rows[0], columns[0]]
                own[len(self._areas) :] = [low <= where < high for low, high in pairwise(self._edges)]
        return pixels, groups

    def compute(self) -> Froc:
        """Returns the figures."""
        areas = len(self._areas)
        names = [f"{low} to {high - 1} px" for low, high in pairwise(self._areas)]
        names += [f"{self._areas[-1]} px and more", *(f"{low:g} to {high:g} m" for low, high in pairwise(self._edges))]
        points = tuple(
            FrocPoint(threshold, tuple(found), false, ignored, sum(found[:areas]))
            for threshold, found, (false, ignored) in zip(
                self._thresholds, self._found.tolist(), self._other.tolist(), strict=True
            )
        )
        groups = dict(zip(names, self._obstacles.tolist(), strict=True))
        obstacles = int(self._obstacles[:areas].sum())
        return Froc(self._frames, obstacles, groups, points, dict(self._stage.named), dict(self._problems))


def judge_regions(regions: Iterable[MaskedRegion], labels: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """Compares the hazards of a frame with its labels, uint8 [H, W], 0 inlier, 1 anomaly, else ignored.

    Returns:
        bool [H, W], True where a hazard is; and how many hazards are false, and how many lie on ignored pixels.
    """
    covered, false, ignored = np.zeros(labels.shape, dtype=bool), 0, 0
    for region in regions:
        box, mask = region.unfolded()
        covered[box] |= mask
        inside = labels[box][mask]
        labelled, anomalous = np.count_nonzero(inside <= ANOMALY), np.count_nonzero(inside == ANOMALY)
        if anomalous and anomalous >= TRUE_SHARE * labelled:
            continue
        if len(inside) - labelled > IGNORED_SHARE * len(inside):
            ignored += 1
        else:
            false += 1
    return covered, (false, ignored)
