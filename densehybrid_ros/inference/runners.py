# SPDX-License-Identifier: Apache-2.0
"""Takes frames of one size through an engine: on the CPU, or on a GPU without any allocation for a frame."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import cv2
import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.confidence import Confidence
from densehybrid_ros.errors import first_line
from densehybrid_ros.inference.dense_output import DenseOutput, dense_output, enlarge
from densehybrid_ros.inference.engines import Engine
from densehybrid_ros.inference.host_kernels import HostKernels
from densehybrid_ros.inference.input_policy import Placement, Sampling
from densehybrid_ros.inference.results import FrameResult, Levels, frame_result, packed_output
from densehybrid_ros.networks import HybridOutput

try:
    from densehybrid_ros.inference import device_kernels
except ImportError:  # PyTorch for this GPU comes without Triton
    device_kernels = None  # type: ignore[assignment]

_WARM_UP_RUNS = 3  # as PyTorch's guide to CUDA graphs advises
_PIECES = 4  # of a frame on its way up: one is copied to pinned memory while the one before it travels


class HostRunner:
    """On the CPU.

    Attributes:
        placement: Of the frames.
    """

    def __init__(self, engine: Engine, placement: Placement, align_corners: bool, kernels: HostKernels | None) -> None:
        """Prepares buffers; without ``kernels`` PyTorch's operations are the pass after the network."""
        self._engine, self.placement = engine, placement
        self._align_corners, self._kernels = align_corners, kernels
        self._images = engine.new_images(placement.network, "cpu")
        self._content = self._images[:, :, : placement.content[0], : placement.content[1]]  # around it, black stays

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
        positions = self.placement.sampling(output.logits.shape[2:], self._align_corners)
        _, result = packed_output(self.placement.camera, "cpu")
        if self._kernels is not None:
            self._kernels.write_dense_output(output, positions, *levels, result)
        else:
            sampling = None if self.placement.whole else positions
            _copy(dense_output(output, self.placement.camera, *levels, self._align_corners, sampling), result)
        return frame_result(result)


def _rgb(image: np.ndarray) -> np.ndarray:
    """Returns an array that PyTorch can wrap: writable (it warns otherwise) and without negative strides."""
    if image.strides[2] < 0:  # a BGR frame, seen as RGB: OpenCV swaps its channels much faster than NumPy
        return cv2.cvtColor(np.ascontiguousarray(image[:, :, ::-1]), cv2.COLOR_BGR2RGB)
    if image.flags.writeable and min(image.strides) >= 0:
        return image
    return np.array(image, order="C")


class DeviceRunner:
    """On a GPU: pinned buffers, streams to copy and to compute, and a CUDA graph.

    Attributes:
        placement: Of the frames.
        stream: The stream that it computes on.
        note: What did not work as it should; empty where all did.
    """

    def __init__(
        self,
        engine: Engine,
        placement: Placement,
        align_corners: bool,
        device: torch.device,
        confidence: Confidence,
        beside: DeviceRunner | None = None,
    ) -> None:
        """Allocates everything, runs a few times and captures the graph; where that fails, ``note`` says so.

        Args:
            engine: The network.
            placement: Of the frames.
            align_corners: The model's.
            device: The GPU.
            confidence: Of the model.
            beside: Another camera's runner. The two compute one after the other, as an engine has memory of its own and
                a frame fills the GPU, and share the graphs' memory; the one copies while the other computes.
        """
        self._engine, self.placement, self._align_corners = engine, placement, align_corners
        self._confidence, self._device = confidence, device
        self.stream: torch.cuda.Stream = torch.cuda.Stream(device) if beside is None else beside.stream
        self._copies = torch.cuda.Stream(device)
        shape = (*placement.network, 3)
        self._staging = torch.zeros(shape, dtype=torch.uint8, pin_memory=True)  # around the content, black stays
        self._image = torch.zeros(shape, dtype=torch.uint8, device=device)
        self._host_controls = torch.zeros(4, pin_memory=True)
        self._controls = torch.tensor([0.0, 0.0, 1.0, 0.0], device=device)
        self._images = engine.new_images(placement.network, device)
        self._packed, self._result = packed_output(placement.camera, device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self.note = ""
        self._prepare(None if beside is None else beside._graph)

    def __call__(self, image: np.ndarray, levels: Levels) -> FrameResult:
        """Segments a frame, uint8 [H, W, 3] RGB with any strides.

        Raises:
            ComputationError: The score is not finite.
        """
        return self.submit(image, levels)()

    def submit(self, image: np.ndarray, levels: Levels) -> Callable[[], FrameResult]:
        """Sends a frame on its way and returns what waits for its result, to be called before the next frame.

        That raises a ComputationError where the score is not finite.
        """
        with torch.cuda.device(self._device), torch.cuda.stream(self._copies):
            self._copies.synchronize()  # of a frame that nobody waited for
            self._upload(image, levels)
            self.stream.wait_stream(self._copies)
            with torch.cuda.stream(self.stream):
                self.compute()
            self._copies.wait_stream(self.stream)
            buffer, output = packed_output(self.placement.camera, "cpu", pinned=True)
            buffer.copy_(self._packed, non_blocking=True)

        def collect() -> FrameResult:
            self._copies.synchronize()
            return frame_result(output)

        return collect

    def compute(self) -> None:
        """Does a frame's work on the device, on the current stream, from the frame uploaded last."""
        if self._graph is not None:
            self._graph.replay()
        else:
            self._compute()

    def _upload(self, image: np.ndarray, levels: Levels) -> None:
        swapped = image.strides[2] < 0  # a BGR frame, seen as RGB: its bytes go up as they lie
        source = self.placement.fit(image[:, :, ::-1] if swapped else image)
        controls = self._host_controls.numpy()
        controls[:] = (levels.threshold, levels.confidence.midpoint, levels.confidence.scale, float(swapped))
        self._controls.copy_(self._host_controls, non_blocking=True)
        rows, columns = source.shape[:2]
        edges = [rows * piece // _PIECES for piece in range(_PIECES + 1)]
        for first, end in pairwise(edges):
            # Not by PyTorch: its threads wait for the slowest of them, tens of milliseconds where others use the cores.
            np.copyto(self._staging[first:end, :columns].numpy(), source[first:end])
            self._image[first:end].copy_(self._staging[first:end], non_blocking=True)

    def _prepare(self, other: torch.cuda.CUDAGraph | None) -> None:
        with torch.cuda.device(self._device):
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                for _ in range(_WARM_UP_RUNS):
                    self._compute()
            self.stream.synchronize()
            captured = torch.cuda.CUDAGraph()
            pool = None if other is None else other.pool()
            try:
                with torch.cuda.graph(captured, pool, self.stream, capture_error_mode="thread_local"):
                    self._compute()
                self._graph = captured
            except RuntimeError as error:
                self.note = f"without a CUDA graph ({first_line(error)})"
                torch.cuda.synchronize(self._device)

    def _compute(self) -> None:
        if device_kernels is not None:
            device_kernels.write_network_input(self._image, self._controls, self._images, self._result.not_finite)
        else:
            self._images.copy_(self._plain_input())
        output = self._engine.run(self._images)
        positions = self.placement.sampling(output.logits.shape[2:], self._align_corners)
        if device_kernels is not None:
            open_set = not self._engine.closed_set
            device_kernels.write_dense_output(output, positions, self._controls, self._result, open_set)
        else:
            self._plain_output(output, None if self.placement.whole else positions)

    def _plain_input(self) -> Tensor:
        images = self._image.permute(2, 0, 1).unsqueeze(0) / 255
        return torch.where(self._controls[3] > 0.5, images.flip(1), images)

    def _plain_output(self, output: HybridOutput, positions: Sampling | None) -> None:
        size = self.placement.camera
        if self._engine.closed_set:
            maps = enlarge(output.logits, size, self._align_corners, positions)
            self._result.semantic.copy_(maps.argmax(dim=1)[0])
            return
        made = dense_output(output, size, self._controls[0], self._confidence, self._align_corners, positions)
        _copy(made, self._result)


def _copy(made: DenseOutput, result: DenseOutput) -> None:
    for source, target in zip(made, result, strict=True):
        target.copy_(source)
