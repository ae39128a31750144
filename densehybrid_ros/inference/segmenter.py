# SPDX-License-Identifier: Apache-2.0
"""The segmenter that the node, the commands and Python users share: a uint8 frame in, masks and score out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from densehybrid_ros.errors import InputError
from densehybrid_ros.inference.backends import EngineChoice, choose_device, device_name
from densehybrid_ros.inference.engine_cache import EngineCache
from densehybrid_ros.inference.engines import Engine, EngineSpec
from densehybrid_ros.inference.host_kernels import HostKernels, host_kernels
from densehybrid_ros.inference.input_policy import Placement, place, size_text
from densehybrid_ros.inference.look import Look, look
from densehybrid_ros.inference.results import FrameResult, Levels
from densehybrid_ros.inference.runners import DeviceRunner, HostRunner
from densehybrid_ros.networks import LoadedModel, load_model

_log = logging.getLogger(__name__)
_SMALL = 4  # strides along a side of a frame that tries the model


class Segmenter:
    """Runs one model on one device. Not thread-safe: one thread calls it.

    Attributes:
        model: What it runs.
        card: The model's card.
        device: Where it runs.
        engines: Compiled engines of the model.
        threshold: Anomaly threshold in nats of calls that give none; None: the card's default.
    """

    def __init__(
        self,
        model: LoadedModel,
        backend: str = "auto",
        device: str = "auto",
        *,
        size: tuple[int, int] | None = None,
        input_policy: str = "exact",
        precision: str | None = None,
        cache: Path | None = None,
        at_once: bool = False,
        threshold: float | None = None,
        warn: Callable[[str], None] = _log.warning,
    ) -> None:
        """Prepares the model; its network is left as it is, until ``look`` needs it.

        Args:
            model: Network and card.
            backend: One of ``backends.BACKENDS``.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
            size: (height, width) of the network's input for the policies resize and letterbox, and the camera's
                expected size for exact. None: the card's.
            input_policy: One of ``input_policy.INPUT_POLICIES``.
            precision: One of ``engines.PRECISIONS``; None: fp16 on a GPU; on a CPU fp32, or what an engine in the cache
                has.
            cache: Directory of compiled engines; None: the user's cache directory.
            at_once: Start on the eager network where nothing is compiled, instead of compiling or refusing.
            threshold: Anomaly threshold in nats; None: the card's default.
            warn: Is told once about each thing that a user should know, such as a camera of another size.

        Raises:
            InputError: The backend, device, policy or precision is unknown or not available here.
        """
        self.model, self.card, self.threshold = model, model.card, threshold
        self.device = choose_device(device)
        self._policy, self._warn = input_policy, warn
        self._size = size or model.card.input_size
        self._stride = model.network.input_stride
        self._chosen_for = place(input_policy, self._size, self._size, self._stride).network
        self._align_corners = model.network.align_corners
        self.engines = EngineCache(model.network, model.card.architecture, self.device, cache)
        if problem := self.engines.files.problem:
            warn(problem)
        self._choice = EngineChoice(self.engines, backend, precision, at_once)
        self._kernels: HostKernels | None = None
        if self.device.type == "cpu":
            self._kernels, problem = host_kernels(self.engines.files.directory)
            if problem:
                warn(f"{problem}: the pass after the network runs slower")
        self._engine = self._choice.choose(self._chosen_for)
        self._runners: dict[int, HostRunner | DeviceRunner] = {}

    @property
    def backend(self) -> str:
        """Name of the backend in use."""
        return self._engine.backend

    @property
    def precision(self) -> str:
        """Name of the precision in use."""
        return self._engine.precision

    @property
    def overlaps(self) -> bool:
        """Whether frames that are submitted together are done sooner than one after another: on a GPU."""
        return self.device.type == "cuda"

    @property
    def input_size(self) -> tuple[int, int] | None:
        """(height, width) to which frames are brought; None where they keep their size."""
        return None if self._policy == "exact" else self._size

    @property
    def reason(self) -> str:
        """Why this backend was taken."""
        notes = {getattr(runner, "note", "") for runner in self._runners.copy().values()} - {""}
        return "; ".join([self._engine.reason, *sorted(notes)])

    def describe(self) -> str:
        """Returns one line: model, backend, device; ``reason`` says why this backend."""
        model = f"{self.card.name} ({self.card.architecture})"
        return f"{model}, {self.backend} {self.precision} on {device_name(self.device)}"

    def __call__(self, image: np.ndarray, threshold: float | None = None) -> FrameResult:
        """Segments one frame.

        Args:
            image: uint8 [H, W, 3] RGB; a strided view is fine.
            threshold: Anomaly threshold in nats; a pixel is unknown where its score exceeds it. None: ``threshold`` of
                this segmenter.

        Returns:
            Masks and score at the size of ``image``.

        Raises:
            InputError: The array is not such an image, or no threshold is known.
            ComputationError: The score is not finite.
        """
        return self.submit(image, threshold)()

    @torch.inference_mode()
    def submit(self, image: np.ndarray, threshold: float | None = None, camera: int = 0) -> Callable[[], FrameResult]:
        """Begins with a frame, so that those of several cameras are on their way at once.

        On a GPU one is uploaded while another one is computed and a third one is judged. On a CPU they are computed one
        after another, each when its result is asked for.

        ``image`` must not change until the result is there. Each ``camera`` has buffers of its own, for frames of its
        own size.

        Returns:
            What waits for the result and does and raises what else a call does; to be called before the next frame of
            this camera.
        """
        if threshold is None:
            threshold = self.card.threshold() if self.threshold is None else self.threshold
        runner = self._runner_for(_size_of(image), camera)
        return runner.submit(image, Levels(threshold, self.card.confidence))

    def look(self, image: np.ndarray) -> Look:
        """Shows what other scores than the hybrid one need of a frame: a pass of the network in eager float32.

        The network gets the same input as in a call.

        Raises:
            InputError: The array is not such an image.
        """
        placement = place(self._policy, _size_of(image), self._size, self._stride)
        with torch.inference_mode(False):  # the model's weights stay such that gradients can go through them
            network = self.model.network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return look(network, placement, image, self.device)

    @torch.inference_mode()
    def warm_up(self, height: int = 0, width: int = 0, cameras: int = 1) -> None:
        """Runs a black frame, so that a model that computes nothing of use is found before a real one comes.

        With the cameras' size, compilation and allocation don't fall on the first frame either; without it the frame is
        of the compiled engine's size, else a small one, which costs little.

        Raises:
            ComputationError: The score is not finite.
        """
        if height and width:
            for camera in range(cameras):
                self.submit(np.zeros((height, width, 3), dtype=np.uint8), 0.0, camera)()
            return
        size = self._engine.size or (_SMALL * self._stride, _SMALL * self._stride)
        runner = self._new_runner(Placement(size, size, size))
        runner(np.zeros((*size, 3), dtype=np.uint8), Levels(0.0, self.card.confidence))

    def swap(self, engine: Engine) -> None:
        """Goes over to another engine between two frames, called by the same thread; gives the former one up first."""
        self._runners.clear()
        self._choice.add(engine)
        self._engine = engine
        self._chosen_for = engine.size or self._chosen_for

    def missing_engine(self, height: int, width: int) -> EngineSpec | None:
        """Returns the engine that ``densehybrid compile`` could add for a camera of this size; None: there is none.

        Raises:
            InputError: The backend can't be had here, or the input is taller than wide, which nobody compiles for.
        """
        network = place(self._policy, (height, width), self._size, self._stride).network
        if network[0] > network[1]:
            raise InputError(f"frames of {width}x{height} are taller than wide; use input_policy letterbox")
        return self._choice.missing(network)

    def _runner_for(self, size: tuple[int, int], camera: int) -> HostRunner | DeviceRunner:
        runner = self._runners.get(camera)
        if runner is not None and runner.placement.camera == size:
            return runner
        placement = place(self._policy, size, self._size, self._stride)
        if runner is not None:
            self._warn(f"the camera's size changed from {size_text(runner.placement.camera)} to {size_text(size)}")
            del runner, self._runners[camera]  # frees the former buffers first
        elif self._policy != "exact" and placement.network != size:
            self._warn(
                f"frames of {size_text(size)} go to the network as {size_text(placement.network)} ({self._policy})"
            )
        if placement.network != self._chosen_for:
            was_compiled = self._engine.size is not None
            self._engine = self._choice.choose(placement.network)
            self._chosen_for = placement.network
            if was_compiled and self._engine.size is None:
                self._warn(f"no compiled engine for {size_text(placement.network)}: {self._engine.backend} takes over")
        self._runners[camera] = self._new_runner(placement)
        return self._runners[camera]

    def _new_runner(self, placement: Placement) -> HostRunner | DeviceRunner:
        if self.device.type == "cpu":
            return HostRunner(self._engine, placement, self._align_corners, self._kernels)
        others = (runner for runner in self._runners.values() if isinstance(runner, DeviceRunner))
        options = (placement, self._align_corners, self.device, self.card.confidence)
        return DeviceRunner(self._engine, *options, beside=next(others, None))


def _size_of(image: np.ndarray) -> tuple[int, int]:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(f"image of shape {image.shape} and type {image.dtype}: needs uint8 [H, W, 3]")
    return image.shape[0], image.shape[1]


def load(
    model: str | Path = "light",
    *,
    threshold: float | str | None = None,
    device: str = "auto",
    backend: str = "auto",
    precision: str = "auto",
    size: tuple[int, int] | None = None,
    input_policy: str | None = None,
) -> Segmenter:
    """Loads a model.

    Args:
        model: A shipped model's name ("light", "ldn121", "ldn121_synthetic") or a ``.safetensors`` file with its card.
        threshold: Anomaly threshold in nats, or the name of one in the card; None: the card's default.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        backend: ``auto``, ``eager``, ``inductor``, ``openvino`` or ``tensorrt``; auto takes the fastest that is there
            at once.
        precision: ``auto``, ``fp16``, ``bf16`` or ``fp32``.
        size: (width, height) of the network's input; None: each picture's own size.
        input_policy: ``exact``, ``resize`` (to ``size``) or ``letterbox``; None: resize where ``size`` is given, else
            exact.

    Returns:
        What turns uint8 RGB [H, W, 3] into ``.semantic``, ``.anomaly_score``, ``.open_set`` and ``.probability``.

    Raises:
        InputError: There is no such model or threshold, or an option is not available here.
    """
    if size is not None and min(size) < 1:
        raise InputError(f"size {size}: give (width, height) in pixels")
    loaded = load_model(model)
    return Segmenter(
        loaded,
        backend,
        device,
        size=None if size is None else (size[1], size[0]),
        input_policy=input_policy or ("exact" if size is None else "resize"),
        precision=None if precision == "auto" else precision,
        at_once=backend == "auto",
        threshold=loaded.card.threshold(threshold) if isinstance(threshold, str) else threshold,
    )
