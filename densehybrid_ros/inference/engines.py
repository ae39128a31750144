# SPDX-License-Identifier: Apache-2.0
"""The network as something that runs: eager, or compiled for one input size by inductor or Torch-TensorRT.

An engine takes images in its own dtype and memory format to the low-resolution outputs; the passes before and after it
are the runners'. Compiled ones are built into files, which ``engine_cache`` keeps.
"""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from densehybrid_ros.errors import InputError, kind_and_line
from densehybrid_ros.inference.cache import default_cache, usable_folder
from densehybrid_ros.inference.dense_output import dense_output
from densehybrid_ros.inference.folding import fold_batch_norms
from densehybrid_ros.inference.fused import fuse
from densehybrid_ros.inference.fused.layout import bordered
from densehybrid_ros.inference.fused.tiles import Tiles
from densehybrid_ros.inference.host_kernels import compiler
from densehybrid_ros.inference.machine import torch_tensorrt
from densehybrid_ros.networks import DenseHybrid, HybridOutput
from densehybrid_ros.processes import ends_with_this_process

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""Name -> dtype of images, weights and activations; log-sum-exp and score are float32 always."""

_LARGEST_MEAN_ERROR = {"fp32": 0.003, "fp16": 0.05, "bf16": 0.15}
"""Against eager fp32, in standard deviations of the score, on noise. Beyond it a fresh engine is thrown away. In nats
it would say little: models' scores spread over one to twenty of them."""

_SMALLEST_SPREAD = 0.5
"""Nats that a score's deviation is taken for at least: one of a network without training is next to none."""

_TRIAL_SIZE = (64, 128)
_INDUCTOR_CACHE = "TORCHINDUCTOR_CACHE_DIR"

TRIAL_PROGRAM = """
import sys, torch
torch._inductor.aoti_load_package(sys.argv[1], run_single_threaded=True, device_index=int(sys.argv[2]))
"""

Report = Callable[[str], None]
"""Is told what a build is doing, a few words at a time."""


@dataclass(frozen=True)
class EngineSpec:
    """What to compile.

    Attributes:
        backend: ``eager`` (block sizes of the fused kernels), ``inductor`` or ``tensorrt``.
        size: (height, width) of the input in pixels; batch is 1.
        precision: One of ``PRECISIONS``.
    """

    backend: str
    size: tuple[int, int]
    precision: str


@dataclass(frozen=True)
class Engine:
    """A network that runs.

    Attributes:
        run: Images [1, 3, H, W] in 0..1 -> both heads. A closed-set engine gives its logits in both places.
        backend: ``eager``, ``inductor``, ``openvino`` or ``tensorrt``.
        precision: One of ``PRECISIONS``.
        size: The only input (height, width) that it takes; None: any.
        closed_set: Whether it leaves the dataset posterior out: the model to compare with.
        reason: Why this one was taken, for people.
        facts: What its build noted: error of the score in nats.
        border: Of the images, see ``fused.layout``; None: they have none.
    """

    run: Callable[[Tensor], HybridOutput]
    backend: str
    precision: str
    size: tuple[int, int] | None
    closed_set: bool = False
    reason: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    border: float | None = None

    def new_images(self, size: tuple[int, int], device: torch.device | str) -> Tensor:
        """Returns images [1, 3, H, W] to fill, laid out as this engine reads them; they stay valid for many frames."""
        if self.border is not None:
            return bordered(size, torch.device(device), self.border)
        plain = self.backend in ("openvino", "tensorrt")
        images = torch.zeros((1, 3, *size), dtype=PRECISIONS[self.precision], device=device)
        return images.contiguous(memory_format=torch.contiguous_format if plain else torch.channels_last)


class _Maps(nn.Module):
    """The network with plain tuples as outputs, which exporting needs."""

    def __init__(self, network: DenseHybrid, closed_set: bool) -> None:
        super().__init__()
        self.network = network.network if closed_set else network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns logits and posterior, or logits alone."""
        if isinstance(self.network, DenseHybrid):
            return tuple(self.network(images))
        return (self.network(images)[1],)


def check_precision(precision: str, backend: str, device: torch.device) -> None:
    """Raises an InputError where there is no such precision, or the backend has none such on the device."""
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision!r}: unknown; choose one of {', '.join(PRECISIONS)}")
    if precision == "fp16" and device.type == "cpu":
        raise InputError("precision fp16: CPUs have no fp16 convolutions; use bf16 or fp32")
    if precision == "bf16" and backend == "tensorrt":
        raise InputError("precision bf16: TensorRT-RTX has none; use fp16 or fp32")


def default_precision(device: torch.device) -> str:
    """Returns fp16 for GPUs and fp32 for CPUs."""
    return "fp16" if device.type == "cuda" else "fp32"


def eager_engine(network: DenseHybrid, precision: str, device: torch.device, closed_set: bool = False) -> Engine:
    """Runs the network with PyTorch, at any size. ``network`` itself is left as it is."""
    module = heads_module(network, precision, device, torch.channels_last, closed_set)
    return Engine(pair(module), "eager", precision, None, closed_set)


def fused_engine(
    network: DenseHybrid, device: torch.device, tiles: Tiles | None = None, closed_set: bool = False
) -> Engine:
    """Runs the network in fp16 with the kernels of ``fused``, at any size. ``network`` itself is left as it is.

    ``fused.fused_problem`` is None for network and device.

    Raises:
        InputError: They do not run here.
    """
    duplicate = copy.deepcopy(network).to(device).eval().requires_grad_(False)
    made = fuse(duplicate, tiles or Tiles(), closed_set)
    engine = Engine(pair(made), "eager", "fp16", None, closed_set, border=made.border)
    try:  # Triton's compiler, its launcher's and the device have to play along
        with torch.cuda.device(device), torch.inference_mode():
            engine.run(engine.new_images(_TRIAL_SIZE, device))
            torch.cuda.synchronize(device)
    except Exception as error:
        raise InputError(f"fused kernels do not run here ({kind_and_line(error)})") from error
    return engine


def build_engine(
    network: DenseHybrid, spec: EngineSpec, device: torch.device, path: Path, report: Report
) -> dict[str, Any]:
    """Compiles into a file, loads it and compares it with the eager network.

    Args:
        network: float32, anywhere; left as it is.
        spec: What to compile, which ``backends.backend_to_build`` and ``check_precision`` allow.
        device: What to compile for.
        path: File to write: ``.pt2``, of backend eager ``.tiles``.
        report: Is told each step.

    Returns:
        Facts for the manifest: error of the score against eager fp32.

    Raises:
        InputError: There is no compiler here, or its result is not equal to the network.
    """
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compilers' own deprecations
        make = {"eager": _tune_tiles, "inductor": _build_inductor, "tensorrt": _build_tensorrt}[spec.backend]
        make(network, spec, device, path, report)
        if spec.backend == "inductor":  # seen with one build of torch 2.11, for its GPU and for the CPU beside it
            report("loading it in a process of its own")
            if problem := fatal_problem(path, _index(device)):
                raise InputError(f"backend 'inductor': {problem}; use another backend")
        report("checking against eager fp32")
        return check_engine(network, load_engine(path, network, spec, device), spec, device)


def load_engine(
    path: Path, network: DenseHybrid, spec: EngineSpec, device: torch.device, closed_set: bool = False
) -> Engine:
    """Loads what ``build_engine`` wrote for ``network``; ``closed_set`` is for block sizes, which serve both models.

    Raises whatever the libraries raise on a file that they can't take.
    """
    if spec.backend == "eager":
        made = fused_engine(network, device, Tiles.read(path), closed_set)
        return replace(made, size=spec.size, reason=f"fused kernels with the block sizes of {path.name}")
    if spec.backend == "tensorrt":
        module = torch_tensorrt().load(str(path)).module()
    else:
        # The runner's locks and events get in the way of capturing a CUDA graph; one thread calls it anyway.
        single = device.type == "cuda"
        module = torch._inductor.aoti_load_package(str(path), run_single_threaded=single, device_index=_index(device))
    return Engine(pair(module), spec.backend, spec.precision, spec.size, reason=f"compiled engine {path.name}")


def fatal_problem(path: Path, device_index: int, program: str = TRIAL_PROGRAM) -> str | None:
    """Says how an engine of AOTInductor ends the process that loads it, tried in one of its own; None if it does not.

    An engine that loads with an error like any other is no matter of this: whoever loads it meets that error.
    ``device_index`` is the GPU's number, -1 on a CPU.
    """
    command = ends_with_this_process([sys.executable, "-c", program, str(path), str(device_index)])
    status = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode
    if status >= 0:
        return None
    return f"torch {torch.__version__} ends with {signal.Signals(-status).name} where it loads the engine it compiled"


def keep_compiled_apart() -> None:
    """Names to PyTorch a folder of this user alone for what inductor, and Triton under it, compile.

    By default it is one in /tmp, named after the user, which another may have made first. What the environment names
    stays.
    """
    if not os.environ.get(_INDUCTOR_CACHE):
        os.environ[_INDUCTOR_CACHE] = str(usable_folder(default_cache() / "inductor"))


def _index(device: torch.device) -> int:
    if device.index is not None:
        return device.index
    return torch.cuda.current_device() if device.type == "cuda" else -1


def _tune_tiles(network: DenseHybrid, spec: EngineSpec, device: torch.device, path: Path, report: Report) -> None:
    tiles = Tiles()
    engine = fused_engine(network, device, tiles)
    report("trying block sizes")
    tiles.tune()  # at the wanted size alone: most of the time goes into compiling the candidates
    with torch.cuda.device(device), torch.inference_mode():
        engine.run(engine.new_images(spec.size, device).copy_(blotches(spec.size, device)))
    tiles.write(path)


def _build_inductor(network: DenseHybrid, spec: EngineSpec, device: torch.device, path: Path, report: Report) -> None:
    if compiler() is None:
        raise InputError("backend 'inductor': no C++ compiler (c++, g++ or clang++) on this machine; install g++")
    report("exporting the graph")
    module = heads_module(network, spec.precision, device, torch.channels_last)
    images = blotches(spec.size, device).to(PRECISIONS[spec.precision]).contiguous(memory_format=torch.channels_last)
    program = torch.export.export(module, (images,))
    keep_compiled_apart()
    report("compiling with inductor")
    # Freezing folds batch normalisation into convolutions and packs their weights. Threads: as many as at run time.
    options = {"freezing": True, "cpp.dynamic_threads": True}
    torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=options)


def _build_tensorrt(network: DenseHybrid, spec: EngineSpec, device: torch.device, path: Path, report: Report) -> None:
    package = torch_tensorrt()
    report("exporting the graph")
    # Without batch normalisation, which is folded in float32.
    images = blotches(spec.size, device)
    module = heads_module(network, "fp32", images.device, torch.contiguous_format)
    graph = torch.export.export(module, (images,)).module(check_guards=False)
    fold_batch_norms(graph)
    images = images.to(PRECISIONS[spec.precision])
    program = torch.export.export(graph.to(images.dtype), (images,))
    report("compiling with Torch-TensorRT")
    compiled = package.dynamo.compile(
        program,
        arg_inputs=(images,),
        device=images.device,  # by default the current one
        use_explicit_typing=True,  # the graph's own dtypes hold
        min_block_size=1,
        truncate_double=True,
        # By default a file in /tmp that all users of a machine write to, and that a killed build leaves half written.
        timing_cache_path=str(path.with_name("timing_cache.bin")),
    )
    report("writing the engine")
    try:
        package.save(compiled, str(path), arg_inputs=(images,))
    except Exception:  # its exporter, which traces the compiled module again, does not take every graph
        package.save(compiled, str(path), retrace=False)


def heads_module(
    network: DenseHybrid,
    precision: str,
    device: torch.device,
    memory_format: torch.memory_format,
    closed_set: bool = False,
) -> nn.Module:
    """Returns a copy of the network for compilers: images to a tuple of logits and posterior."""
    duplicate = copy.deepcopy(network).to(device=device, dtype=PRECISIONS[precision]).eval().requires_grad_(False)
    return _Maps(duplicate.to(memory_format=memory_format), closed_set).eval()  # type: ignore[call-overload]


def pair(run: Callable[[Tensor], Any]) -> Callable[[Tensor], HybridOutput]:
    """Names the outputs of what compilers make; logits alone stand in both places."""

    def call(images: Tensor) -> HybridOutput:
        outputs = run(images)
        return HybridOutput(outputs[0], outputs[-1])

    return call


def blotches(size: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
    """Returns a random picture, float32 [1, 3, H, W] in 0..1: white noise alone drives networks into one corner."""
    generator = torch.Generator().manual_seed(0)
    height, width = size
    image = torch.zeros(1, 3, height, width)
    for cells in (4, 16, 64):
        grid = torch.rand(1, 3, min(cells, height), min(cells, width), generator=generator)
        image += torch.nn.functional.interpolate(grid, (height, width)) / 3
    return image.to(device)


@torch.no_grad()
def check_engine(network: DenseHybrid, engine: Engine, spec: EngineSpec, device: torch.device) -> dict[str, float]:
    """Compares an engine with the eager network in fp32, on random blotches.

    Returns:
        Mean and largest error of the score in nats, named as in the manifest.

    Raises:
        InputError: It is further off than its precision explains.
    """
    images = blotches(spec.size, device)
    scores = []
    for each in (eager_engine(network, "fp32", device), engine):
        output = each.run(each.new_images(spec.size, device).copy_(images))
        scores.append(dense_output(output, spec.size, 0.0).anomaly_score)
    difference = (scores[0] - scores[1]).abs()
    mean, largest = float(difference.mean()), float(difference.max())
    spread = max(float(scores[0].std()), _SMALLEST_SPREAD)
    if not mean <= _LARGEST_MEAN_ERROR[spec.precision] * spread:
        raise InputError(
            f"{spec.backend} {spec.precision}: its score is off by {mean:.3g} nats on average, where it varies by "
            f"{spread:.3g}; not kept"
        )
    return {"score_error_mean": mean, "score_error_max": largest}
