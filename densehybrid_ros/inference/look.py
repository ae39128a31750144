"""One pass of the network in eager float32, kept for scores that a drive does not compute."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.inference.dense_output import enlarge
from densehybrid_ros.inference.input_policy import Placement
from densehybrid_ros.networks import DenseHybrid
from densehybrid_ros.scores.model_score import Observation, observe


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
        if self.placement.network == camera:
            return enlarge(maps, camera, align)
        return enlarge(maps, camera, align, self.placement.sampling((maps.shape[2], maps.shape[3]), align))


@torch.inference_mode()
def look(network: DenseHybrid, placement: Placement, image: np.ndarray, device: torch.device) -> Look:
    """Runs the network once.

    Args:
        network: float32 in evaluation mode, on ``device``.
        placement: Of the frame.
        image: uint8 [H, W, 3] RGB; a strided view is fine.
        device: Where to run.
    """
    fitted = torch.from_numpy(np.require(placement.fit(image), requirements=["C", "W"])).to(device)
    images = fitted.permute(2, 0, 1).unsqueeze(0).float() / 255  # channels_last as it comes
    return Look(observe(network, images), placement)
