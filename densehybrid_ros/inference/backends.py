# SPDX-License-Identifier: Apache-2.0
"""Ways to run the model on this machine, by name, and the choice among them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from densehybrid_ros.errors import InputError
from densehybrid_ros.host_memory import keep_freed_memory
from densehybrid_ros.inference.engine_builder import BackgroundBuild
from densehybrid_ros.inference.engine_cache import EngineCache
from densehybrid_ros.inference.engines import (
    Engine,
    EngineSpec,
    Report,
    check_precision,
    default_precision,
    eager_engine,
    fused_engine,
    jit_engine,
)
from densehybrid_ros.inference.fused import fused_problem
from densehybrid_ros.inference.host_kernels import compiler
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

    Args:
        backend: One of ``BACKENDS``.
        network: What is to run.
        device: Where.
        precision: One of ``engines.PRECISIONS``, or None for the device's own.

    Raises:
        InputError: The named backend can't be compiled or can't run here.
    """
    if backend not in BACKENDS:
        raise InputError(f"backend {backend!r}: unknown; choose one of {', '.join(BACKENDS)}")
    if backend == "openvino":
        raise InputError("backend 'openvino': there is nothing to compile ahead of time; use auto or inductor")
    unfused = fused_problem(network, device)
    if unfused is None and (precision or default_precision(device)) != "fp16":
        unfused = "fused kernels are for fp16"
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


@dataclass
class EngineChoice:
    """Chooses an engine for an input size.

    Attributes:
        cache: Compiled engines of the model.
        backend: One of ``BACKENDS``.
        precision: One of ``engines.PRECISIONS``, or None for the device's own.
        build: Compile into the cache where it has none, and wait.
        at_once: Never wait for a compilation within this process.
        report: Is told what a build does.
    """

    cache: EngineCache
    backend: str
    precision: str | None = None
    build: bool = False
    at_once: bool = False
    report: Report = field(default=lambda text: None)

    def __post_init__(self) -> None:
        if self.backend == "openvino":
            if problem := openvino_problem(self.cache.device, self.precision):
                raise InputError(f"backend 'openvino': {problem}; use auto, eager or inductor")
        elif self.backend != "eager":
            self._backend_to_build()  # refuses what can't run here
        if self.precision is not None:
            check_precision(self.precision, self.backend, self.cache.device)
        self._fused = (
            self.backend in ("auto", "eager")
            and fused_problem(self.cache.network, self.cache.device) is None
            and (self.precision or default_precision(self.cache.device)) == "fp16"
        )
        self._eager: Engine | None = None
        self._openvino: Engine | None = None
        self._fused_as_given: Engine | None = None
        self._added: dict[tuple[int, int] | None, Engine] = {}

    def add(self, engine: Engine) -> None:
        """Makes this engine the choice for its size, whatever the cache has."""
        self._added[engine.size] = engine

    def choose(self, size: tuple[int, int]) -> Engine:
        """Returns the engine for an input of (height, width) pixels.

        Raises:
            InputError: The backend that was asked for can't be had.
        """
        added = self._added.get(size) or self._added.get(None)
        if added is not None:
            return added
        if self.backend == "eager" and not self._fused:
            return self._eager_engine("as asked")
        if self.backend == "openvino":
            if self._openvino is None:
                self._openvino = openvino_engine(self.cache.network, "as asked")
            return self._openvino
        engine, reason = self._find(size)
        if engine is not None:
            return engine
        if self.build:
            return self._build(size, reason)
        return self._without_engine(reason)

    def choose_cached(self, size: tuple[int, int]) -> Engine | None:
        """Returns the compiled engine for this input size, None where there is none."""
        return self._added.get(size) or self._find(size)[0]

    def _find(self, size: tuple[int, int]) -> tuple[Engine | None, str]:
        problems = []
        for backend in self._candidates():
            for precision in self._precisions():
                for tuned in (True, False) if backend == "inductor" else (False,):
                    engine, problem = self.cache.find(EngineSpec(backend, size, precision, tuned=tuned))
                    if engine is not None:
                        return engine, ""
            problems.append(f"no {backend} engine for {size_text(size)}: {problem}")
        return None, "; ".join(problems)

    def start_build(self, size: tuple[int, int], model: Path) -> BackgroundBuild | None:
        """Starts to compile in another process what ``choose`` lacks; see ``Segmenter.start_build``."""
        if self.backend == "openvino" or (self.backend == "eager" and not self._fused):
            return None
        if self.choose_cached(size) is not None:
            return None
        backend = self._backend_to_build()
        precision = self.precision or default_precision(self.cache.device)
        return BackgroundBuild(self.cache, EngineSpec(backend, size, precision), model)

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
        if self.precision is not None:
            return [self.precision]
        # Whoever has compiled for bf16 on this machine wants it: nothing else puts such an engine there.
        on_cpu = self.cache.device.type == "cpu"
        return ["bf16", "fp32"] if on_cpu else [default_precision(self.cache.device)]

    def _build(self, size: tuple[int, int], reason: str) -> Engine:
        backend = self._backend_to_build()
        precision = self.precision or default_precision(self.cache.device)
        try:
            return self.cache.build(EngineSpec(backend, size, precision), self.report)
        except InputError as error:
            if self.backend not in ("auto", "eager"):
                raise
            return self._without_engine(f"{reason}; {error}")

    def _backend_to_build(self) -> str:
        return backend_to_build(self.backend, self.cache.network, self.cache.device, self.precision)

    def _without_engine(self, reason: str) -> Engine:
        if self._fused and self.at_once:  # Triton would compile them within this process
            return self._eager_engine(f"{reason}; densehybrid compile makes fused kernels ready")
        if self._fused:
            try:
                return self._fused_engine(reason)
            except InputError as error:
                reason = str(error)
                if self.backend == "eager":
                    return self._eager_engine(reason)
        if self.backend == "tensorrt":
            if self.at_once:
                return self._eager_engine(reason)
            raise InputError(f"backend 'tensorrt': {reason}; make one with densehybrid compile, or use auto")
        waits = self.backend == "inductor" or self.cache.device.type == "cuda"
        if waits and not self.at_once and compiler() is not None:
            precision = self.precision or default_precision(self.cache.device)
            spec = EngineSpec("inductor", (0, 0), precision)
            return jit_engine(self.cache.network, spec, self.cache.device, f"{reason}; compiled at the first frame")
        if self.backend == "inductor" and not self.at_once:
            raise InputError("backend 'inductor': no C++ compiler (c++, g++ or clang++) on this machine; use eager")
        if self.cache.device.type == "cpu":
            reason += "; compiling takes minutes on a CPU"
        return self._eager_engine(f"{reason}; densehybrid compile makes one")

    def _fused_engine(self, reason: str) -> Engine:
        if self._fused_as_given is None:
            self._fused_as_given = fused_engine(self.cache.network, self.cache.device)
        why = f"fused kernels with given block sizes, {reason}; densehybrid compile measures them"
        return replace(self._fused_as_given, reason=why)

    def _eager_engine(self, reason: str) -> Engine:
        if self._eager is None:
            precision = self.precision or default_precision(self.cache.device)
            self._eager = eager_engine(self.cache.network, precision, self.cache.device)
        return replace(self._eager, reason=reason)
