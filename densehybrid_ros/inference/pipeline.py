"""The pipeline that the node and the offline commands share: a uint8 frame in, three masks out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.errors import InputError
from densehybrid_ros.inference.backends import build_runner, choose_backend, choose_device
from densehybrid_ros.inference.host_memory import keep_freed_memory
from densehybrid_ros.networks import LoadedModel


@dataclass(frozen=True)
class FrameResult:
    """Results of one frame on the host; the arrays are contiguous and belong to the caller.

    Attributes:
        semantic: uint8 [H, W], train ids 0..K-1.
        anomaly_score: float32 [H, W], s(x) in nats; higher = more anomalous.
        open_set: uint8 [H, W], train ids, K where the score exceeds the threshold.
    """

    semantic: np.ndarray
    anomaly_score: np.ndarray
    open_set: np.ndarray


class Pipeline:
    """Runs one model on one device. Not thread-safe: one thread calls it."""

    def __init__(self, model: LoadedModel, backend: str = "auto", device: str = "auto") -> None:
        """Prepares the model.

        Args:
            model: Network and card; the network is moved and cast in place.
            backend: One of ``backends.BACKENDS``.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

        Raises:
            InputError: The backend or device is unknown or not available here.
        """
        self.card = model.card
        self.device = choose_device(device)
        self.backend = choose_backend(backend, self.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        self._run = build_runner(model.network, self.backend, self.device)

    def describe(self) -> str:
        """Returns one line: model, backend and device."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        return f"{self.card.name} ({self.card.architecture}), {self.backend} on {name}"

    @torch.inference_mode()
    def __call__(self, image: np.ndarray, threshold: float) -> FrameResult:
        """Segments one frame.

        Args:
            image: uint8 [H, W, 3] RGB; a strided view is fine.
            threshold: Anomaly threshold in nats; a pixel is unknown where its score exceeds it.

        Raises:
            InputError: The array is not such an image.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise InputError(f"image of shape {image.shape} and type {image.dtype}: needs uint8 [H, W, 3]")
        output = self._run(self._to_device(image), torch.tensor(threshold, dtype=torch.float32, device=self.device))
        semantic, score, open_set = (tensor.cpu().numpy() for tensor in output)
        return FrameResult(semantic, score, open_set)

    def warm_up(self, height: int, width: int) -> None:
        """Runs a frame of this size, so that compilation and allocation do not fall on the first real one."""
        self(np.zeros((height, width, 3), dtype=np.uint8), threshold=0.0)

    def _to_device(self, image: np.ndarray) -> Tensor:
        # PyTorch takes no negative strides: swap the channels of a BGR view back, and once more on the device.
        if image.strides[2] < 0:
            swapped = image[:, :, ::-1]
            return torch.from_numpy(_readable(swapped)).to(self.device).flip(2)
        return torch.from_numpy(_readable(image)).to(self.device)


def _readable(image: np.ndarray) -> np.ndarray:
    """Returns an array that PyTorch can wrap: writable (it warns otherwise) and without negative strides."""
    if image.flags.writeable and min(image.strides) >= 0:
        return image
    return np.array(image, order="C")
