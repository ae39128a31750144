"""Runs a model over a data set: threads decode ahead, heads are upsampled once, all scores are taken from them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.datasets.evaluation_set import EvaluationFrame, EvaluationSet
from densehybrid_ros.errors import InputError
from densehybrid_ros.networks import DenseHybrid, HybridOutput, upsample
from densehybrid_ros.networks.scales import mean_over_scales
from densehybrid_ros.scores import SCORES
from densehybrid_ros.scores.model_score import ModelScore, Observation, observe

_READERS = 4
_AHEAD = 8
_LEVELLED = "hybrid"  # the score that a model's level belongs to; what it is compared with stays as it is


@dataclass(frozen=True)
class ScoredFrame:
    """A frame with what the model says about it; the tensors lie on the model's device.

    Attributes:
        index: Its index in the data set.
        frame: The frame itself.
        scores: Name -> float32 [H, W], higher = more anomalous.
        prediction: uint8 [H, W], train ids of the closed-set argmax.
    """

    index: int
    frame: EvaluationFrame
    scores: dict[str, Tensor]
    prediction: Tensor


@dataclass(frozen=True)
class LeftOut:
    """A frame that could not be evaluated, and why."""

    index: int
    reason: str


class FrameScorer:
    """Scores frames with one model.

    Args:
        model: The network, in evaluation mode on its device.
        device: That device.
        scores: Names of scores to compute, keys of ``SCORES`` or of ``model_scores``.
        size: (height, width) to which images are resized for the network; None leaves them. Scores always have the
            size of the labels.
        model_scores: Scores that need the model itself, fitted where they must be.
        head_scores: Further functions like those of ``SCORES``, by name.
        scales: Of the network's input; the mean of the heads' logits over them is scored. Empty: one look, as it is.
            Not together with ``model_scores``, which see what one look yields.

    Raises:
        InputError: A score is unknown.
    """

    def __init__(
        self,
        model: DenseHybrid,
        device: torch.device,
        scores: Sequence[str],
        size: tuple[int, int] | None = None,
        model_scores: Mapping[str, ModelScore] | None = None,
        head_scores: Mapping[str, Callable[[Tensor, Tensor], Tensor]] | None = None,
        scales: Sequence[float] = (),
    ) -> None:
        self._head_scores = {**SCORES, **(head_scores or {})}
        self._model_scores = dict(model_scores or {})
        for name in scores:
            if name not in self._head_scores and name not in self._model_scores:
                raise InputError(f"--scores {name}: unknown; choose from {', '.join(SCORES)}")
        self._scales = tuple(scales)
        self._model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._device = device
        self._scores = list(scores)
        self._size = size

    @torch.inference_mode()
    def __call__(self, index: int, frame: EvaluationFrame) -> ScoredFrame:
        """Scores a frame.

        Raises:
            InputError: The network's output is not finite.
        """
        images = self._images(frame.image)
        seen: Observation | HybridOutput
        seen = mean_over_scales(self._model, images, self._scales) if self._scales else observe(self._model, images)
        if not (bool(seen.logits.isfinite().all()) and bool(seen.posterior.isfinite().all())):
            raise InputError(f"{frame.name}: the network's output is not finite there; check the model's weights")
        size = (frame.image.shape[0], frame.image.shape[1])
        align = self._model.align_corners
        logits, posterior = (upsample(maps.float(), size, align) for maps in (seen.logits, seen.posterior))
        scores: dict[str, Tensor] = {}
        level = self._model.level
        for name in self._scores:
            if name in self._head_scores:
                scores[name] = self._head_scores[name](logits, posterior)[0]
                if name == _LEVELLED and level is not None:
                    scores[name] = scores[name] - upsample(level.offset(seen.logits, seen.posterior), size, align)[0, 0]
            else:
                assert isinstance(seen, Observation)
                scores[name] = upsample(self._model_scores[name](seen).float()[:, None], size, align)[0, 0]
        return ScoredFrame(index, frame, scores, logits.argmax(dim=1)[0].to(torch.uint8))

    def _images(self, image: np.ndarray) -> Tensor:
        if self._size is not None and self._size != image.shape[:2]:
            height, width = self._size
            shrinks = height * width < image.shape[0] * image.shape[1]
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        tensor = torch.from_numpy(np.require(image, requirements=["C", "W"])).to(self._device)
        return tensor.permute(2, 0, 1).unsqueeze(0).float() / 255  # channels_last as it comes


def read_ahead(dataset: EvaluationSet, indices: Sequence[int]) -> Iterator[EvaluationFrame | LeftOut]:
    """Reads frames in order with a few threads, some frames ahead; a frame that can't be read is a ``LeftOut``."""

    def read(index: int) -> EvaluationFrame | LeftOut:
        try:
            return dataset[index]
        except InputError as error:
            return LeftOut(index, str(error))

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


def score_frames(
    scorer: FrameScorer, dataset: EvaluationSet, indices: Sequence[int]
) -> Iterator[ScoredFrame | LeftOut]:
    """Yields every frame of ``indices`` scored, or why it was left out."""
    for index, frame in zip(indices, read_ahead(dataset, indices), strict=True):
        if isinstance(frame, LeftOut):
            yield frame
            continue
        try:
            yield scorer(index, frame)
        except InputError as error:
            yield LeftOut(index, str(error))
