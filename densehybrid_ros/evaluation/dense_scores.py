# SPDX-License-Identifier: Apache-2.0
"""Runs a segmenter over a data set: threads decode ahead, and further scores are taken from one look at a frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.datasets.evaluation_set import EvaluationFrame
from densehybrid_ros.datasets.labelled_set import LabelledSet
from densehybrid_ros.datasets.taxonomy import SemanticClass
from densehybrid_ros.errors import ComputationError, InputError
from densehybrid_ros.hazards.road import find_ground, road_hazard
from densehybrid_ros.inference import Segmenter
from densehybrid_ros.inference.look import Observation
from densehybrid_ros.progress import progress
from densehybrid_ros.scores import SCORES

_READERS = 4
_AHEAD = 8
KEPT_BYTES = 2 << 30
"""Scored frames that stay in memory for a further walk over a data set: at most so many bytes."""

HYBRID = "hybrid"
"""The score that a drive has."""
ROAD_HAZARD = "road_hazard"
"""The hybrid score, lowered by ``ROAD_PRIOR`` nats away from the ground."""
ROAD_PRIOR = 25.0
_OF_A_DRIVE = {HYBRID, ROAD_HAZARD}  # they need no further pass of the network


@dataclass(frozen=True)
class ScoredFrame:
    """A frame of a data set with what the model says about it; the tensors lie on the segmenter's device."""

    index: int
    frame: EvaluationFrame
    scores: dict[str, Tensor]  # name -> float32 [H, W], higher = more anomalous
    prediction: Tensor  # uint8 [H, W], train ids of the closed-set argmax
    through: str = ""  # backend and precision that the hybrid score and the classes come from

    def on_cpu(self) -> ScoredFrame:
        """Returns the frame with its tensors in main memory."""
        scores = {name: score.cpu() for name, score in self.scores.items()}
        return replace(self, scores=scores, prediction=self.prediction.cpu())

    @property
    def nbytes(self) -> int:
        """Bytes of all its arrays."""
        maps = (self.frame.image, self.frame.anomaly, self.frame.semantic, self.frame.instances, self.frame.disparity)
        tensors = (self.prediction, *self.scores.values())
        return sum(item.nbytes for item in (*maps, *tensors) if item is not None)


@dataclass(frozen=True)
class LeftOut:
    """A frame that could not be evaluated, and why."""

    reason: str


class Scorer(Protocol):
    """What gives the scores of an evaluation."""

    name: str  # of the model, or of the scores' author
    scores: list[str]  # names of the scores that it gives
    judged: str | None  # the one of them that given thresholds are for; None where it gives no such score
    device: torch.device  # where its tensors lie
    classes: tuple[SemanticClass, ...]  # that it predicts; empty where it predicts none
    input_size: tuple[int, int] | None  # (height, width) of the network's input; None where images keep theirs

    def __call__(self, index: int, frame: EvaluationFrame) -> ScoredFrame:
        """Scores a frame, or raises an InputError that names it."""


class FrameScorer:
    """Scores frames with one segmenter: the hybrid score and the classes are those of a drive.

    Args:
        segmenter: Runs the model.
        scores: Names of scores to compute: keys of ``SCORES`` or of ``model_scores``, or ``ROAD_HAZARD``. All but this
            and the hybrid one cost a further pass of the network, see ``Segmenter.look``.
        model_scores: Scores that need the model itself, from one look at a frame to float32 [B, h, w].
    """

    def __init__(
        self,
        segmenter: Segmenter,
        scores: Sequence[str],
        model_scores: Mapping[str, Callable[[Observation], Tensor]] | None = None,
    ) -> None:
        self._segmenter, self._model_scores = segmenter, model_scores or {}
        self.name, self.classes = segmenter.card.name, segmenter.card.classes
        self.device, self.input_size = segmenter.device, segmenter.input_size
        self.scores = list(scores)
        self.judged: str | None = HYBRID if HYBRID in self.scores else None

    def __call__(self, index: int, frame: EvaluationFrame) -> ScoredFrame:
        """Scores a frame.

        Raises:
            InputError: The score is not finite.
        """
        try:
            result = self._segmenter(frame.image, 0.0)
        except ComputationError as error:
            raise InputError(f"{frame.name}: {error}") from error
        made = {HYBRID: result.anomaly_score}
        if ROAD_HAZARD in self.scores:
            ground = find_ground(result.semantic, self.classes)
            made[ROAD_HAZARD] = road_hazard(result.anomaly_score, ground, ROAD_PRIOR)
        found = {name: torch.from_numpy(values).to(self.device) for name, values in made.items()}
        if set(self.scores) - _OF_A_DRIVE:
            found |= self._others(frame.image)
        scores = {name: found[name] for name in self.scores}
        prediction = torch.from_numpy(result.semantic).to(self.device)
        return ScoredFrame(index, frame, scores, prediction, f"{self._segmenter.backend} {self._segmenter.precision}")

    @torch.inference_mode()
    def _others(self, image: np.ndarray) -> dict[str, Tensor]:
        look = self._segmenter.look(image)
        heads = [look.enlarge(maps) for maps in (look.seen.logits, look.seen.posterior)]
        others = [name for name in self.scores if name not in _OF_A_DRIVE]
        own = {name: SCORES[name](*heads)[0] for name in others if name in SCORES}
        by_model = (name for name in others if name not in SCORES)
        return own | {name: look.enlarge(self._model_scores[name](look.seen)[:, None])[0, 0] for name in by_model}


class ScoredSet:
    """The scored frames of a data set, for several walks: the model runs once on all that fit into memory.

    Kept frames take at most ``room`` bytes; 0 where one walk is enough.
    """

    def __init__(self, scorer: Scorer, dataset: LabelledSet, indices: Sequence[int], room: int = KEPT_BYTES) -> None:
        self._scorer, self._dataset, self._indices, self._room = scorer, dataset, indices, room
        self._kept: list[ScoredFrame | LeftOut] = []

    def walk(self, description: str) -> Iterator[ScoredFrame | LeftOut]:
        """Yields every frame scored, or why it was left out, and shows the progress."""
        known = len(self._kept)
        scored = score_frames(self._scorer, self._dataset, self._indices[known:])
        items = chain(tuple(self._kept), scored)
        for number, item in enumerate(progress(items, description, total=len(self._indices))):
            if number >= known and self._room > 0:  # the first that does not fit is the last that is tried
                self._room -= item.nbytes if isinstance(item, ScoredFrame) else 0
                if self._room > 0:
                    self._kept.append(item.on_cpu() if isinstance(item, ScoredFrame) else item)
            yield item

    def walk_all(self, description: str) -> Iterator[ScoredFrame]:
        """Yields every frame scored, for what does not go on without a frame.

        Raises:
            InputError: A frame could not be scored.
        """
        for item in self.walk(description):
            if isinstance(item, LeftOut):
                raise InputError(item.reason)
            yield item


def spread(total: int, limit: int | None) -> list[int]:
    """Returns all indices, or ``limit`` of them evenly spread from the first to the last."""
    if limit is None or limit >= total:
        return list(range(total))
    return [round(position * (total - 1) / max(limit - 1, 1)) for position in range(limit)]


def read_ahead(dataset: LabelledSet, indices: Sequence[int]) -> Iterator[EvaluationFrame | LeftOut]:
    """Reads frames in order with a few threads, some frames ahead; a frame that can't be read is a ``LeftOut``."""

    def read(index: int) -> EvaluationFrame | LeftOut:
        try:
            return dataset[index]
        except InputError as error:
            return LeftOut(str(error))

    with ThreadPoolExecutor(_READERS) as pool:
        waiting: deque[Future[EvaluationFrame | LeftOut]] = deque()
        try:
            for index in indices:
                waiting.append(pool.submit(read, index))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def score_frames(scorer: Scorer, dataset: LabelledSet, indices: Sequence[int]) -> Iterator[ScoredFrame | LeftOut]:
    """Yields every frame of ``indices`` scored, or why it was left out."""
    for index, frame in zip(indices, read_ahead(dataset, indices), strict=True):
        if isinstance(frame, LeftOut):
            yield frame
            continue
        try:
            yield scorer(index, frame)
        except InputError as error:
            yield LeftOut(str(error))
