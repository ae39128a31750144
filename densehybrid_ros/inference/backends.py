# SPDX-License-Identifier: Apache-2.0
"""Ways to run the model on this machine, by name, and the choice among them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from densehybrid_ros.errors import InputError
from densehybrid_ros.host_memory import keep_freed_memory
from densehybrid_ros.inference.engine_cache import EngineCache
from densehybrid_ros.inference.engines import (
    Engine,
    EngineSpec,
    check_precision,
    default_precision,
    eager_engine,
    fused_engine,
)
from densehybrid_ros.inference.fused import fused_problem
from densehybrid_ros.inference.input_policy import size_text
from densehybrid_ros.inference.machine import torch_tensorrt_problem
from densehybrid_ros.inference.openvino_engine import openvino_engine, openvino_problem
from densehybrid_ros.networks import DenseHybrid

BACKENDS = ("auto", "eager", "inductor", "openvino", "tensorrt")
"""What ``backend`` may be; auto takes the best that this machine offers."""


def choose_device(device: str) -> torch.device:
    """Turns ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` into a device that exists.

    A process that chooses the CPU keeps freed memory from then on (``host_memory``).

    Raises:
        InputError: It is not a device name, or there is no such device here.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device {device!r}: not a device; use auto, cpu, cuda or cuda:N") from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device {device!r}: this machine has {torch.cuda.device_count()} CUDA devices; use cpu or auto"
        )
    if chosen.type == "cpu":
        keep_freed_memory()
    return chosen


def device_name(device: torch.device) -> str:
    """What reports and cards call a device: the GPU's name, or ``CPU``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def tensorrt_problem(device: torch.device) -> str | None:
    """Says in a few words why backend tensorrt can't run here; None where it can."""
    return torch_tensorrt_problem() if device.type == "cuda" else "it needs an NVIDIA GPU"


def backend_to_build(backend: str, network: DenseHybrid, device: torch.device, precision: str | None = None) -> str:
    """Returns what ``auto`` would build here: the fused kernels' block sizes, else a tensorrt, else an inductor engine.

    Raises:
        InputError: The named backend can't be compiled or can't run here.
    """
    if backend not in BACKENDS:
        raise InputError(f"backend {backend!r}: unknown; choose one of {', '.join(BACKENDS)}")
    if backend == "openvino":
        raise InputError("backend 'openvino': there is nothing to compile ahead of time; use auto or inductor")
    unfused = _unfused(network, device, precision)
    if backend == "auto" and unfused is None:
        return "eager"
    # Asked last: it imports torch_tensorrt, which takes seconds.
    problem = tensorrt_problem(device) if backend in ("auto", "tensorrt") else None
    if backend == "auto":
        return "inductor" if problem else "tensorrt"
    if backend == "eager" and unfused:
        raise InputError(f"backend 'eager': there is nothing to compile ({unfused}); use inductor or tensorrt")
    if backend == "tensorrt" and problem:
        raise InputError(f"backend 'tensorrt': {problem}; use auto, eager or inductor")
    return backend


def _unfused(network: DenseHybrid, device: torch.device, precision: str | None) -> str | None:
    problem = fused_problem(network, device)
    if problem is None and (precision or default_precision(device)) != "fp16":
        return "fused kernels are for fp16"
    return problem


class EngineChoice:
    """Chooses an engine for an input size."""

    def __init__(self, cache: EngineCache, backend: str, precision: str | None = None, at_once: bool = False) -> None:
        """Raises an InputError where that can't run here.

        Args:
            cache: Compiled engines of the model.
            backend: One of ``BACKENDS``.
            precision: One of ``engines.PRECISIONS``, or None for the device's own.
            at_once: Start on the eager network where nothing is compiled.
        """
        self.cache, self.backend, self.precision, self.at_once = cache, backend, precision, at_once
        if backend == "openvino":
            if problem := openvino_problem(cache.device, precision):
                raise InputError(f"backend 'openvino': {problem}; use auto, eager or inductor")
        elif backend != "eager":
            backend_to_build(backend, cache.network, cache.device, precision)  # refuses what can't run here
        if precision is not None:
            check_precision(precision, backend, cache.device)
        self._default = precision or default_precision(cache.device)
        self._fused = backend in ("auto", "eager") and _unfused(cache.network, cache.device, precision) is None
        self._compiles = backend != "openvino" and (backend != "eager" or self._fused)
        self._uncompiled: dict[str, Engine] = {}
        self._added: dict[tuple[int, int] | None, Engine] = {}

    def add(self, engine: Engine) -> None:
        """Makes this engine the choice for its size, whatever the cache has."""
        self._added[engine.size] = engine

    def choose(self, size: tuple[int, int]) -> Engine:
        """Returns the engine for an input of (height, width) pixels.

        Raises:
            InputError: The backend that was asked for can't be had.
        """
        if not self._compiles:
            return self._made(self.backend, "as asked")
        engine, reason = self._find(size)
        if engine is not None:
            return engine
        if self._fused and not self.at_once:  # Triton compiles them within this process
            given = f"fused kernels with given block sizes, {reason}; densehybrid compile measures them"
            try:
                return self._made("fused", given)
            except InputError as error:
                reason = str(error)
        elif self.backend in ("inductor", "tensorrt") and not self.at_once:
            raise InputError(f"backend {self.backend!r}: {reason}; make one with densehybrid compile, or use auto")
        return self._made("eager", f"{reason}; densehybrid compile makes one")

    def missing(self, size: tuple[int, int]) -> EngineSpec | None:
        """Returns what ``densehybrid compile`` could add for an input of this size; None where there is nothing."""
        if not self._compiles or self._find(size)[0] is not None:
            return None
        backend = backend_to_build(self.backend, self.cache.network, self.cache.device, self.precision)
        return EngineSpec(backend, size, self._default)

    def _find(self, size: tuple[int, int]) -> tuple[Engine | None, str]:
        if added := self._added.get(size) or self._added.get(None):
            return added, ""
        problems = []
        for backend in self._candidates():
            for precision in self._precisions():
                engine, problem = self.cache.find(EngineSpec(backend, size, precision))
                if engine is not None:
                    return engine, ""
            problems.append(f"no {backend} engine for {size_text(size)}: {problem}")
        return None, "; ".join(problems)

    def _candidates(self) -> Iterator[str]:
        if self.backend != "auto":
            yield self.backend
            return
        if self._fused:
            yield "eager"
        if tensorrt_problem(self.cache.device) is None:
            yield "tensorrt"
        yield "inductor"

    def _precisions(self) -> list[str]:
        # Whoever has compiled for bf16 on a CPU wants it: nothing else puts such an engine there.
        return ["bf16", "fp32"] if self.precision is None and self.cache.device.type == "cpu" else [self._default]

    def _made(self, kind: str, reason: str) -> Engine:
        """The engine that takes any size and is made within this process, once."""
        if kind not in self._uncompiled:
            network, device = self.cache.network, self.cache.device
            if kind == "openvino":
                self._uncompiled[kind] = openvino_engine(network)
            elif kind == "fused":
                self._uncompiled[kind] = fused_engine(network, device)
            else:
                self._uncompiled[kind] = eager_engine(network, self._default, device)
        return replace(self._uncompiled[kind], reason=reason)
