# SPDX-License-Identifier: Apache-2.0
"""One pass of the network in eager float32, kept for scores that a drive does not compute."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.inference.dense_output import enlarge
from densehybrid_ros.inference.input_policy import Placement
from densehybrid_ros.networks import DenseHybrid


class Observation(NamedTuple):
    """What one pass over an image yields; maps are at the network's output stride.

    Attributes:
        model: The model that made the pass.
        images: float32 [B, 3, H, W], RGB in 0..1.
        prelogits: [B, C, h, w].
        logits: [B, K, h, w].
        posterior: [B, 2, h, w], index 1 = outlier.
    """

    model: DenseHybrid
    images: Tensor
    prelogits: Tensor
    logits: Tensor
    posterior: Tensor


class Look(NamedTuple):
    """What the network sees and says of a frame.

    Attributes:
        seen: The network's input and its low-resolution outputs; the score's level is not in them.
        placement: Where the frame lies in that input.
    """

    seen: Observation
    placement: Placement

    def enlarge(self, maps: Tensor) -> Tensor:
        """Enlarges [1, C, h, w] on the grid of the outputs to the frame's float32 [1, C, H, W], as a drive does."""
        camera, align = self.placement.camera, self.seen.model.align_corners
        if self.placement.whole:
            return enlarge(maps, camera, align)
        return enlarge(maps, camera, align, self.placement.sampling(maps.shape[2:], align))


def observe(model: DenseHybrid, images: Tensor) -> Observation:
    """Runs the model once and keeps what the scores may need."""
    prelogits, logits = model.network(images)
    return Observation(model, images, prelogits, logits, model.posterior_head(prelogits))


@torch.inference_mode()
def look(network: DenseHybrid, placement: Placement, image: np.ndarray, device: torch.device) -> Look:
    """Runs the network, float32 in evaluation mode on ``device``, on a frame, uint8 [H, W, 3] RGB."""
    rows, columns = placement.content
    pixels = np.zeros((*placement.network, 3), np.uint8)
    pixels[:rows, :columns] = placement.fit(image)
    images = (
        torch.from_numpy(pixels).to(device).permute(2, 0, 1).unsqueeze(0).float() / 255
    )  # channels_last as it comes
    return Look(observe(network, images), placement)
