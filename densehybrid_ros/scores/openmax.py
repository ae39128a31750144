# SPDX-License-Identifier: Apache-2.0
"""An OpenMax-style score (Bendale & Boult 2016) on the logits of pixels."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from densehybrid_ros.scores.model_score import ModelScore, Observation, TrainingPixels, per_pixel

_FEWEST = 20


class OpenMax(ModelScore):
    """Probability of a further, unknown class.

    The distances of correctly classified training pixels from their class's mean logits have a Weibull tail. The more
    surely a pixel's distance lies beyond it, the more of its class's logit goes to the unknown class.

    Args:
        tail: Share of a class's largest distances to which the Weibull distribution is fitted.
    """

    needs_fit = True

    def __init__(self, tail: float = 0.05) -> None:
        self._tail = tail
        self._means = torch.zeros(0)
        self._weibull = np.zeros((0, 3))

    def fit(self, pixels: TrainingPixels) -> None:
        """Takes each class's mean logits and tail; a class with too few pixels never counts as exceeded."""
        classes = pixels.logits.shape[1]
        self._means = torch.zeros(classes, classes, device=pixels.logits.device)
        self._weibull = np.full((classes, 3), np.nan)
        correct = pixels.logits.argmax(dim=1) == pixels.labels
        for index in range(classes):
            own = pixels.logits[correct & (pixels.labels == index)]
            if len(own) < _FEWEST:
                continue
            self._means[index] = own.mean(dim=0)
            distances = torch.sort((own - self._means[index]).norm(dim=1)).values.cpu().numpy().astype(np.float64)
            largest = distances[-max(_FEWEST, int(self._tail * len(distances))) :]
            self._weibull[index] = stats.weibull_min.fit(largest, floc=largest[0] * 0.999)

    def __call__(self, seen: Observation) -> Tensor:
        """Returns the unknown class's log-odds against all known ones, [B, h, w]: a monotone of its probability."""
        logits, shape = per_pixel(seen.logits)
        predicted = logits.argmax(dim=1)
        distance = (logits - self._means.to(logits.device)[predicted]).norm(dim=1)
        beyond = self._exceeded(distance, predicted)
        rows = torch.arange(len(logits), device=logits.device)
        # Above the pixel's smallest: a softmax does not see the shift, and a negative logit has nothing to give.
        kept = logits - logits.amin(dim=1, keepdim=True)
        unknown = kept[rows, predicted] * beyond
        kept[rows, predicted] = kept[rows, predicted] - unknown
        return (unknown - kept.logsumexp(dim=1)).view(shape)

    def _exceeded(self, distance: Tensor, predicted: Tensor) -> Tensor:
        """Weibull distribution function of each pixel's distance under its predicted class, 0..1."""
        shape, location, scale = (
            torch.as_tensor(column, dtype=torch.float32, device=distance.device)[predicted]
            for column in self._weibull.T
        )
        exceeding = ((distance - location).clamp(min=0) / scale) ** shape
        return torch.nan_to_num(1 - torch.exp(-exceeding))
