# SPDX-License-Identifier: Apache-2.0
"""Runs frames on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import torch

from densehybrid_ros.inference.dense_output import dense_output
from densehybrid_ros.inference.engines import Engine
from densehybrid_ros.inference.host_kernels import HostKernels
from densehybrid_ros.inference.input_policy import Placement
from densehybrid_ros.inference.results import FrameResult, Levels, ResultPool, check_finite, views


class HostRunner:
    """Takes frames of one size through an engine on the CPU.

    Attributes:
        placement: Of the frames.
    """

    def __init__(self, engine: Engine, placement: Placement, align_corners: bool, kernels: HostKernels | None) -> None:
        """Prepares buffers.

        Args:
            engine: The network.
            placement: Of the frames.
            align_corners: The model's.
            kernels: The compiled pass after the network; None: PyTorch's operations.
        """
        self._engine, self.placement = engine, placement
        self._align_corners, self._kernels = align_corners, kernels
        self._images = engine.new_images(placement.network, "cpu")
        self._content = self._images[:, :, : placement.content[0], : placement.content[1]]  # around it, black stays
        self._pool = ResultPool(placement.camera, pinned=False)

    def submit(self, image: np.ndarray, levels: Levels) -> Callable[[], FrameResult]:
        """Returns what segments the frame: all cores compute one, so a second one at the same time brings nothing."""
        return partial(self, image, levels)

    @torch.inference_mode()
    def __call__(self, image: np.ndarray, levels: Levels) -> FrameResult:
        """Segments a frame, uint8 [H, W, 3] RGB with any strides.

        Raises:
            ComputationError: The score is not finite.
        """
        fitted = self.placement.fit(_rgb(image))
        # One pass: conversion, scaling and the order of bytes; channels_last is how they come.
        torch.div(torch.from_numpy(fitted).permute(2, 0, 1).unsqueeze(0), 255, out=self._content)
        output = self._engine.run(self._images)
        maps = (int(output.logits.shape[2]), int(output.logits.shape[3]))
        positions = self.placement.sampling(maps, self._align_corners)
        buffer, result = self._pool.take()
        target = views(buffer, self.placement.camera)
        if self._kernels is not None:
            self._kernels.write_dense_output(output, positions, *levels, target)
        else:
            made = dense_output(
                output,
                self.placement.camera,
                *levels,
                align_corners=self._align_corners,
                sampling=None if self.placement.whole else positions,
            )
            for tensor, values in zip(target, made, strict=True):
                tensor.copy_(values)
        check_finite(buffer, result)
        return result


def _rgb(image: np.ndarray) -> np.ndarray:
    """Returns an array that PyTorch can wrap: writable (it warns otherwise) and without negative strides."""
    if image.strides[2] < 0:  # a BGR frame, seen as RGB: OpenCV swaps its channels much faster than NumPy
        return cv2.cvtColor(np.ascontiguousarray(image[:, :, ::-1]), cv2.COLOR_BGR2RGB)
    if image.flags.writeable and min(image.strides) >= 0:
        return image
    return np.array(image, order="C")
