# SPDX-License-Identifier: Apache-2.0
"""The rows of ``densehybrid benchmark engine``: each is measured by itself, and one that fails says why."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from densehybrid_ros.errors import kind_and_line
from densehybrid_ros.inference.backends import choose_device, tensorrt_problem
from densehybrid_ros.inference.dense_output import dense_output
from densehybrid_ros.inference.engine_cache import EngineCache
from densehybrid_ros.inference.engines import Engine, EngineSpec, Report, eager_engine
from densehybrid_ros.inference.fused import fused_problem
from densehybrid_ros.inference.host_kernels import host_kernels
from densehybrid_ros.inference.input_policy import place
from densehybrid_ros.inference.openvino_engine import openvino_engine, openvino_problem
from densehybrid_ros.inference.results import Levels
from densehybrid_ros.inference.runners import DeviceRunner, HostRunner
from densehybrid_ros.networks import DenseHybrid, LoadedModel

BASELINE = "eager fp32, one operation after another"
_WARM_UP = 20


@dataclass
class Row:
    """One line of the table.

    Attributes:
        name: What was measured.
        values: Figures: milliseconds, ratios and the like, named with their units.
        problem: Why there is no figure; empty where there is.
        note: What else a reader should know.
    """

    name: str
    values: dict[str, float] = field(default_factory=dict)
    problem: str = ""
    note: str = ""

    @property
    def result(self) -> str:
        """The figures, or why there are none."""
        return self.problem or "  ".join(f"{name} {value:.4g}" for name, value in self.values.items())


def gpu_rows(
    model: LoadedModel,
    device: torch.device,
    size: tuple[int, int],
    repeats: int,
    build: bool = True,
    report: Report = lambda text: None,
) -> list[Row]:
    """Measures one model on a GPU in fp16: all backends, then on the best of them host to host, and the closed set.

    Args:
        model: The model.
        device: The GPU.
        size: (height, width) of the frame.
        repeats: Runs of which the median is taken.
        build: Compile what the cache lacks.
        report: Is told what is being done.
    """
    network, card = model.network, model.card
    cache = EngineCache(network, card.architecture, device)
    placement = place("exact", size, size, network.input_stride)
    gflop = network_flops(network, placement.network) / 1e9
    rows: list[Row] = []
    measured: dict[str, float] = {}

    def compiled(backend: str, closed_set: bool = False) -> Engine:
        if backend == "tensorrt" and (problem := tensorrt_problem(device)):
            raise RuntimeError(problem)
        return _compiled(cache, EngineSpec(backend, placement.network, "fp16"), build, report, closed_set)

    def runner(engine: Engine) -> DeviceRunner:
        return DeviceRunner(engine, placement, network.align_corners, device, card.confidence)

    def timed(made: DeviceRunner) -> float:
        return device_ms(made.compute, made.stream, repeats)

    makers: dict[str, Callable[..., Engine]] = {}
    if fused_problem(network, device) is None:
        makers["eager fp16, fused kernels"] = partial(compiled, "eager")
    makers["eager fp16, PyTorch's operations"] = partial(eager_engine, network, "fp16", device)
    of_both_sets = list(makers)
    makers |= {f"{name} fp16": partial(compiled, name) for name in ("tensorrt", "inductor")}
    for name, make in makers.items():
        with _row(rows, f"{card.name}: {name}", report) as row:
            made = runner(make())
            measured[name] = timed(made)
            row.note, row.values = made.note, {"device_ms": measured[name], "gflop": gflop}
            del made  # and its memory
    if measured:
        best = min(measured, key=measured.__getitem__)
        with _row(rows, f"{card.name}: {best}, host to host", report) as row:
            run = partial(runner(makers[best]()), _noise_frame(size), Levels(-10.0, card.confidence))
            total = interleaved_ms({best: run}, repeats, warm_up=_WARM_UP)[best]
            row.values = {"host_to_host_ms": total, "over_device_ms": total - measured[best]}
            del run
    for name in [name for name in of_both_sets if name in measured][:1]:
        with _row(rows, f"{card.name}: {name}, closed set, argmax alone", report) as row:
            # In turns with the open-set model: the difference sought is smaller than the drift of clocks.
            pair = [runner(makers[name](closed_set=closed_set)) for closed_set in (False, True)]
            both, alone = np.median([[timed(each) for each in pair] for _ in range(3)], axis=0).tolist()
            row.values = {"device_ms": alone, "open_set_ms": both, "overhead_percent": 100 * (both / alone - 1)}
    return rows


def cpu_rows(
    model: LoadedModel, size: tuple[int, int], repeats: int, build: bool = True, report: Report = lambda text: None
) -> list[Row]:
    """Measures one model on the CPU, whole frames host to host, as ratios to eager fp32 without this package's passes.

    The arguments are those of ``gpu_rows``.
    """
    device = choose_device("cpu")
    network = model.network
    cache = EngineCache(network, model.card.architecture, device)
    kernels, problem = host_kernels(cache.files.directory)
    frame, levels = _noise_frame(size), Levels(-10.0, model.card.confidence)
    placement = place("exact", size, size, network.input_stride)
    makers: dict[str, Callable[[], Engine]] = {}
    for precision in ("fp32", "bf16"):
        makers[f"eager {precision}"] = partial(eager_engine, network, precision, device)
        spec = EngineSpec("inductor", placement.network, precision)
        makers[f"inductor {precision}"] = partial(_compiled, cache, spec, build, report)
    if openvino_problem(device) is None:
        makers["openvino fp32"] = partial(openvino_engine, network)
    runs: dict[str, Callable[[], object]] = {BASELINE: _plain_cpu(model, frame)}
    rows: list[Row] = []
    for name, make in makers.items():
        with _row(rows, f"{model.card.name} on the CPU: {name}", report) as row:
            row.note = problem
            run = partial(HostRunner(make(), placement, network.align_corners, kernels), frame, levels)
            run()
            runs[name] = run
    with torch.inference_mode():
        times = interleaved_ms(runs, repeats)
    for name, row in zip(makers, rows, strict=True):
        if name in times:
            row.values = {"times_faster_than_eager": times[BASELINE] / times[name]}
    return rows


@contextmanager
def _row(rows: list[Row], name: str, report: Report) -> Iterator[Row]:
    """Adds a row, to be filled in the block; what goes wrong there is this row's problem alone."""
    report(name)
    row = Row(name)
    rows.append(row)
    try:
        with torch.inference_mode():
            yield row
    except Exception as error:
        row.problem = kind_and_line(error)
    if row.result:
        report(f"{name}: {row.result}")
    torch.cuda.empty_cache()


def _noise_frame(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)


def network_flops(network: DenseHybrid, size: tuple[int, int]) -> float:
    """Counts the floating-point operations of a frame, two a multiply-add, without computing anything."""
    module = copy.deepcopy(network).to("meta").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(torch.empty(1, 3, *size, device="meta"))
    return float(counter.get_total_flops())


def _plain_cpu(model: LoadedModel, frame: np.ndarray) -> Callable[[], object]:
    """What a program without this package would do: PyTorch's operations, channels last, float32."""
    network = copy.deepcopy(model.network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run() -> object:
        images = torch.from_numpy(frame).permute(2, 0, 1).unsqueeze(0).float() / 255
        size = (frame.shape[0], frame.shape[1])
        return dense_output(network(images), size, -10.0, model.card.confidence, model.network.align_corners)

    return run


def _compiled(cache: EngineCache, spec: EngineSpec, build: bool, report: Report, closed_set: bool = False) -> Engine:
    if build:
        cache.build(spec, report)
    engine, problem = cache.find(spec, closed_set)
    if engine is None:
        raise RuntimeError(f"{problem}; make one with densehybrid compile")
    return engine


def device_ms(run: Callable[[], object], stream: torch.cuda.Stream, repeats: int) -> float:
    """Returns the median milliseconds that ``run`` takes on the GPU, by events on ``stream``."""
    with torch.cuda.device(stream.device), torch.cuda.stream(stream):
        for _ in range(_WARM_UP):
            run()
        pairs = []
        for _ in range(repeats):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record(stream)
            run()
            end.record(stream)
            pairs.append((begin, end))
        stream.synchronize()
    return statistics.median(begin.elapsed_time(end) for begin, end in pairs)


def interleaved_ms(runs: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 2) -> dict[str, float]:
    """Times several in turn, so that all bear what else the machine does; each waits for its device. Name -> median."""
    for run in runs.values():
        for _ in range(warm_up):
            run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - began))
    return {name: statistics.median(values) for name, values in times.items()}
