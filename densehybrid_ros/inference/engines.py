"""The network as something that runs: eager, or compiled for one input size by inductor or Torch-TensorRT.

An engine takes images in its own dtype and memory format to the low-resolution outputs; the passes before and after it
are the runners'. Compiled ones are built into files, which ``engine_cache`` keeps.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from densehybrid_ros.errors import InputError
from densehybrid_ros.inference.dense_output import dense_output
from densehybrid_ros.inference.host_kernels import compiler
from densehybrid_ros.inference.machine import torch_tensorrt, torch_tensorrt_problem
from densehybrid_ros.networks import DenseHybrid, HybridOutput

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""Name -> dtype of weights and activations; log-sum-exp and score are float32 always."""

_LARGEST_MEAN_ERROR = {"fp32": 0.005, "fp16": 0.1, "bf16": 0.5}
"""Nats of score, against eager fp32 on noise; beyond it a fresh engine is thrown away."""

_TUNING = {"conv_1x1_as_mm": True, "max_autotune_gemm": True, "prologue_fusion": True, "epilogue_fusion": True}

Report = Callable[[str], None]
"""Is told what a build is doing, a few words at a time."""


@dataclass(frozen=True)
class EngineSpec:
    """What to compile.

    Attributes:
        backend: ``eager``, ``inductor`` or ``tensorrt``.
        size: (height, width) of the input in pixels; batch is 1.
        precision: One of ``PRECISIONS``.
        closed_set: Leave the dataset posterior out: the model to compare with.
        tuned: Let inductor try kernels of its own for each 1x1 convolution, with what comes before it fused into their
            reads. Takes minutes; GPUs only.
    """

    backend: str
    size: tuple[int, int]
    precision: str
    closed_set: bool = False
    tuned: bool = False


@dataclass(frozen=True)
class Engine:
    """A network that runs.

    Attributes:
        run: Images [1, 3, H, W] in 0..1 -> outputs. A closed-set engine gives its logits in both places.
        backend: ``eager``, ``inductor`` or ``tensorrt``.
        precision: One of ``PRECISIONS``.
        size: The only input (height, width) that it takes; None: any.
        closed_set: See ``EngineSpec``.
        reason: Why this one was taken, for people.
        facts: What its build noted: error of the score in nats.
    """

    run: Callable[[Tensor], HybridOutput]
    backend: str
    precision: str
    size: tuple[int, int] | None
    closed_set: bool = False
    reason: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the images."""
        return PRECISIONS[self.precision]

    @property
    def memory_format(self) -> torch.memory_format:
        """Memory format of the images."""
        return torch.contiguous_format if self.backend == "tensorrt" else torch.channels_last


class _Maps(nn.Module):
    """The network with plain tuples as outputs, which exporting needs."""

    def __init__(self, network: DenseHybrid, closed_set: bool) -> None:
        super().__init__()
        self.network = network.network if closed_set else network
        self.closed_set = closed_set

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns logits and posterior, or logits alone."""
        outputs = self.network(images)
        return (outputs[1],) if self.closed_set else (outputs[0], outputs[1])


def check_precision(precision: str, backend: str, device: torch.device) -> None:
    """Refuses what does not exist.

    Raises:
        InputError: There is no such precision, or the backend has none such on the device.
    """
    if precision == "int8":
        why = {
            "tensorrt": "TensorRT-RTX quantises weights alone, not activations",
            "inductor": "inductor needs a quantised graph, which this version does not make",
        }.get(backend, "this backend has no 8-bit convolutions")
        better = "fp16" if device.type == "cuda" else "bf16"
        raise InputError(f"precision int8: {why}; use {better}")
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision!r}: unknown; choose one of {', '.join(PRECISIONS)}")
    if precision == "fp16" and device.type == "cpu":
        raise InputError("precision fp16: CPUs have no fp16 convolutions; use bf16 or fp32")
    if precision == "bf16" and backend == "tensorrt":
        raise InputError("precision bf16: TensorRT-RTX has none; use fp16 or fp32")


def default_precision(device: torch.device) -> str:
    """Returns fp16 for GPUs and fp32 for CPUs."""
    return "fp16" if device.type == "cuda" else "fp32"


def eager_engine(
    network: DenseHybrid, precision: str, device: torch.device, reason: str = "", closed_set: bool = False
) -> Engine:
    """Runs the network with PyTorch, at any size. ``network`` itself is left as it is."""
    module = _prepared(network, precision, device, torch.channels_last, closed_set)
    return Engine(_pair(module), "eager", precision, None, closed_set, reason)


def jit_engine(network: DenseHybrid, spec: EngineSpec, device: torch.device, reason: str = "") -> Engine:
    """Lets inductor compile within this process: the first frame waits for it."""
    if compiler() is None:
        raise InputError("backend 'inductor': no C++ compiler on this machine; install g++ or use eager")
    module = _prepared(network, spec.precision, device, torch.channels_last, spec.closed_set)
    return Engine(
        _pair(torch.compile(module, dynamic=False)), "inductor", spec.precision, None, spec.closed_set, reason
    )


def build_engine(
    network: DenseHybrid, spec: EngineSpec, device: torch.device, path: Path, report: Report
) -> dict[str, Any]:
    """Compiles into a file, loads it and compares it with the eager network.

    Args:
        network: float32, anywhere; left as it is.
        spec: What to compile.
        device: What to compile for.
        path: File to write, ``.pt2``.
        report: Is told each step.

    Returns:
        Facts for the manifest: error of the score against eager fp32.

    Raises:
        InputError: The backend can't be had here, or its result is not equal to the network.
    """
    check_precision(spec.precision, spec.backend, device)
    if spec.tuned and (spec.backend != "inductor" or device.type != "cuda"):
        raise InputError("tuning is for backend inductor on a GPU; leave --tune out")
    memory_format = torch.contiguous_format if spec.backend == "tensorrt" else torch.channels_last
    module = _prepared(network, spec.precision, device, memory_format, spec.closed_set)
    images = _noise(spec, device).to(PRECISIONS[spec.precision]).contiguous(memory_format=memory_format)
    builder = _build_tensorrt if spec.backend == "tensorrt" else partial(_build_inductor, tuned=spec.tuned)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compilers' own deprecations
        builder(module, images, path, report)
        report("checking against eager fp32")
        return check_engine(network, load_engine(path, spec, device), spec, device)


def load_engine(
    path: Path, spec: EngineSpec, device: torch.device, reason: str = "", facts: Mapping[str, Any] | None = None
) -> Engine:
    """Loads what ``build_engine`` wrote. Raises whatever the libraries raise on a file that they can't take."""
    if spec.backend == "tensorrt":
        module = torch_tensorrt().load(str(path)).module()
    else:
        # The runner's locks and events get in the way of capturing a CUDA graph; one thread calls it anyway.
        single = device.type == "cuda"
        index = device.index if device.index is not None else (torch.cuda.current_device() if single else -1)
        module = torch._inductor.aoti_load_package(str(path), run_single_threaded=single, device_index=index)
    return Engine(_pair(module), spec.backend, spec.precision, spec.size, spec.closed_set, reason, facts or {})


def _build_inductor(module: nn.Module, images: Tensor, path: Path, report: Report, tuned: bool) -> None:
    if compiler() is None:
        raise InputError("backend 'inductor': no C++ compiler (c++, g++ or clang++) on this machine; install g++")
    report("exporting the graph")
    program = torch.export.export(module, (images,))
    report("compiling with inductor")
    # Freezing folds batch normalisation into convolutions and packs their weights. Threads: as many as at run time.
    options = {"freezing": True, "cpp.dynamic_threads": True, **(_TUNING if tuned else {})}
    torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=options)


def _build_tensorrt(module: nn.Module, images: Tensor, path: Path, report: Report) -> None:
    problem = torch_tensorrt_problem()
    if problem:
        raise InputError(f"backend 'tensorrt': {problem}; use inductor or eager")
    compiler_package = torch_tensorrt()
    report("exporting the graph")
    program = torch.export.export(module, (images,))
    report("compiling with Torch-TensorRT")
    # Typing is explicit: the module's own dtypes hold.
    compiled = compiler_package.dynamo.compile(
        program, arg_inputs=(images,), use_explicit_typing=True, min_block_size=1, truncate_double=True
    )
    report("writing the engine")
    try:
        compiler_package.save(compiled, str(path), arg_inputs=(images,))
    except Exception:  # its exporter, which traces the compiled module anew, does not take every graph
        compiler_package.save(compiled, str(path), retrace=False)


def _prepared(
    network: DenseHybrid, precision: str, device: torch.device, memory_format: torch.memory_format, closed_set: bool
) -> nn.Module:
    duplicate = copy.deepcopy(network).to(device=device, dtype=PRECISIONS[precision]).eval().requires_grad_(False)
    return _Maps(duplicate.to(memory_format=memory_format), closed_set)  # type: ignore[call-overload]


def _pair(run: Callable[[Tensor], Any]) -> Callable[[Tensor], HybridOutput]:
    def call(images: Tensor) -> HybridOutput:
        outputs = run(images)
        return HybridOutput(outputs[0], outputs[-1])

    return call


def _noise(spec: EngineSpec, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    # Blotches of several sizes: white noise alone drives networks into one corner.
    height, width = spec.size
    image = torch.zeros(1, 3, height, width)
    for cells in (4, 16, 64):
        grid = torch.rand(1, 3, min(cells, height), min(cells, width), generator=generator)
        image += torch.nn.functional.interpolate(grid, (height, width)) / 3
    return image.to(device)


@torch.no_grad()
def check_engine(network: DenseHybrid, engine: Engine, spec: EngineSpec, device: torch.device) -> dict[str, float]:
    """Compares an engine with the eager network in fp32 on a random image.

    Returns:
        Mean and largest error of the score in nats, named as in the manifest.

    Raises:
        InputError: It is further off than its precision explains.
    """
    images = _noise(spec, device)
    reference = eager_engine(network, "fp32", device, closed_set=spec.closed_set)
    scores = []
    for each in (reference, engine):
        output = each.run(images.to(each.dtype).contiguous(memory_format=each.memory_format))
        if spec.closed_set:
            scores.append(output.logits.float().logsumexp(dim=1))
        else:
            scores.append(dense_output(output, spec.size, 0.0).anomaly_score)
    difference = (scores[0] - scores[1]).abs()
    mean, largest = float(difference.mean()), float(difference.max())
    if not mean <= _LARGEST_MEAN_ERROR[spec.precision]:
        raise InputError(f"{spec.backend} {spec.precision}: its score is off by {mean:.3g} nats on average; not kept")
    return {"score_error_mean": mean, "score_error_max": largest}
