"""Ways to run the model on this machine, by name, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from densehybrid_ros.errors import InputError
from densehybrid_ros.inference.dense_output import DenseOutput, dense_output
from densehybrid_ros.networks import DenseHybrid

BACKENDS = ("auto", "eager", "inductor", "tensorrt")
"""What ``backend`` may be; auto takes the best that this machine offers."""

Runner = Callable[[Tensor, Tensor], DenseOutput]
"""Takes an image, uint8 [H, W, 3] RGB on the device, and the threshold (0-d float32), to the dense output."""


class FrameModule(nn.Module):
    """From a uint8 frame on the device to its dense output: scaling, network and post-network pass."""

    def __init__(self, network: DenseHybrid, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network.to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.dtype = dtype

    def forward(self, image: Tensor, threshold: Tensor) -> DenseOutput:
        """Maps uint8 [H, W, 3] RGB and a 0-d threshold to the dense output of the same size."""
        images = image.permute(2, 0, 1).unsqueeze(0).to(self.dtype) / 255  # channels_last as it comes
        return dense_output(self.network(images), (image.shape[0], image.shape[1]), threshold)


def choose_device(device: str) -> torch.device:
    """Turns ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` into a device that exists.

    Raises:
        InputError: It is not a device name, or there is no such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device {device!r}: not a device; use auto, cpu, cuda or cuda:N") from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device {device!r}: this machine has {torch.cuda.device_count()} CUDA devices; use cpu or auto"
        )
    return chosen


def choose_backend(backend: str, device: torch.device) -> str:
    """Turns ``auto`` into a backend that runs here; names what is missing for one that does not.

    Raises:
        InputError: The backend is unknown or can't run here.
    """
    if backend not in BACKENDS:
        raise InputError(f"backend {backend!r}: unknown; choose one of {', '.join(BACKENDS)}")
    if backend == "tensorrt":
        raise InputError("backend 'tensorrt': not built into this version yet; use auto, eager or inductor")
    if backend == "auto":
        # Compiling takes a minute on a CPU, during which the node would look dead.
        return "eager"
    return backend


def build_runner(network: DenseHybrid, backend: str, device: torch.device) -> Runner:
    """Builds the function that runs one frame; half precision on a GPU, float32 on a CPU."""
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    module = FrameModule(network, dtype).to(device).eval()
    if backend == "inductor":
        return torch.compile(module, dynamic=False)
    return module
