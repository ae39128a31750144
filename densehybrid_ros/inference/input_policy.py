"""How a camera's frame gets into a network input of another size; results are always at the camera's size."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from densehybrid_ros.errors import InputError
from densehybrid_ros.inference.sampling import Sampling, sampling

INPUT_POLICIES = ("exact", "resize", "roi")
"""exact: the network runs at the camera's size. resize: the frame is stretched to the engine's size. roi: it is scaled
with its aspect kept and fills the top left of the engine's input, the rest is black (letterbox)."""


@dataclass(frozen=True)
class Placement:
    """Where a frame lies in the network's input. Sizes are (height, width) in pixels.

    Attributes:
        camera: The frame.
        content: What it fills of the input, from the top left corner.
        network: The input.
    """

    camera: tuple[int, int]
    content: tuple[int, int]
    network: tuple[int, int]

    def fit(self, image: np.ndarray) -> np.ndarray:
        """Scales a frame, uint8 [H, W, 3], and pads it; the frame itself where nothing is to be done."""
        if self.content != self.camera:
            shrinks = self.content[0] < self.camera[0] and self.content[1] < self.camera[1]
            interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            image = cv2.resize(np.ascontiguousarray(image), self.content[::-1], interpolation=interpolation)
        if self.content != self.network:
            padded = np.zeros((*self.network, 3), dtype=np.uint8)
            padded[: self.content[0], : self.content[1]] = image
            return padded
        return image

    def sampling(self, network_output: tuple[int, int], align_corners: bool) -> Sampling:
        """Says where the camera's pixels lie in an output of the network of this size."""
        return sampling(self.camera, self.content, self.network, network_output, align_corners)


def place(policy: str, camera: tuple[int, int], engine: tuple[int, int]) -> Placement:
    """Applies a policy.

    Args:
        policy: One of ``INPUT_POLICIES``.
        camera: (height, width) of the frame.
        engine: (height, width) that the engine wants; ``exact`` does not look at it.

    Raises:
        InputError: There is no such policy.
    """
    if policy not in INPUT_POLICIES:
        raise InputError(f"input_policy {policy!r}: unknown; choose one of {', '.join(INPUT_POLICIES)}")
    if policy == "exact":
        return Placement(camera, camera, camera)
    if policy == "resize":
        return Placement(camera, engine, engine)
    scale = min(engine[0] / camera[0], engine[1] / camera[1])
    content = (max(1, round(camera[0] * scale)), max(1, round(camera[1] * scale)))
    return Placement(camera, content, engine)
