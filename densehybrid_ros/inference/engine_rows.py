# SPDX-License-Identifier: Apache-2.0
"""The rows of ``densehybrid benchmark engine``: each is measured by itself, and one that fails says why."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from densehybrid_ros.inference.backends import choose_device, tensorrt_problem
from densehybrid_ros.inference.cost import network_cost
from densehybrid_ros.inference.dense_output import dense_output
from densehybrid_ros.inference.device_runner import DeviceRunner
from densehybrid_ros.inference.engine_cache import EngineCache
from densehybrid_ros.inference.engines import Engine, EngineSpec, Report, eager_engine
from densehybrid_ros.inference.fused import fused_problem
from densehybrid_ros.inference.host_kernels import host_kernels
from densehybrid_ros.inference.host_runner import HostRunner
from densehybrid_ros.inference.input_policy import place
from densehybrid_ros.inference.openvino_engine import openvino_engine, openvino_problem
from densehybrid_ros.inference.results import Levels
from densehybrid_ros.networks import LoadedModel

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
        milliseconds: Of a frame, where measured; of a CPU that others use it means little, so only a table of speeds
            shows it.
    """

    name: str
    values: dict[str, float] = field(default_factory=dict)
    problem: str = ""
    note: str = ""
    milliseconds: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types, without the milliseconds."""
        return {name: value for name, value in asdict(self).items() if name != "milliseconds"}

    @property
    def result(self) -> str:
        """The figures, or why there are none."""
        return self.problem or "  ".join(f"{name} {value:.4g}" for name, value in self.values.items())


def noise_frame(size: tuple[int, int]) -> np.ndarray:
    """Returns a random frame, uint8 [H, W, 3]."""
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)


def gpu_rows(
    model: LoadedModel,
    device: torch.device,
    size: tuple[int, int],
    repeats: int,
    build: bool = True,
    report: Report = lambda text: None,
) -> list[Row]:
    """Measures one model on a GPU in fp16: all backends, the closed-set model on the best, and host to host.

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
    cost = network_cost(network, placement.network, torch.float16)
    floor_ms = cost.floor_ms(*device_rates(device))
    rows: list[Row] = []

    def runner(engine: Engine, graph: bool = True, fused: bool = True) -> DeviceRunner:
        align = network.align_corners
        return DeviceRunner(engine, placement, align, device, card.confidence, graph=graph, fused=fused)

    def timed(made: DeviceRunner) -> float:
        return device_ms(made.compute, made.stream, repeats)

    def add(name: str, measure: Callable[[Row], None]) -> Row:
        name = f"{card.name}: {name}"
        report(name)
        rows.append(_measured(name, measure))
        report(f"{name}: {rows[-1].result}")
        torch.cuda.empty_cache()
        return rows[-1]

    def device_row(name: str, make: Callable[[], Engine], **options: bool) -> Row:
        def measure(row: Row) -> None:
            made = runner(make(), **options)
            row.note, row.milliseconds = made.note, timed(made)
            row.values = {"device_ms": row.milliseconds, "gflop": cost.flops / 1e9, "megabytes": cost.megabytes}
            row.values |= {"floor_ms": floor_ms, "times_floor": row.milliseconds / floor_ms}

        return add(name, measure)

    def makers(closed_set: bool) -> dict[str, Callable[[], Engine]]:
        found: dict[str, Callable[[], Engine]] = {}
        if fused_problem(network, device) is None:
            found["eager fp16, fused kernels"] = partial(compiled, "eager", closed_set)
        found["eager fp16, PyTorch's operations"] = partial(
            eager_engine, network, "fp16", device, closed_set=closed_set
        )
        return found | {f"{name} fp16": partial(compiled, name, closed_set) for name in ("tensorrt", "inductor")}

    def compiled(backend: str, closed_set: bool) -> Engine:
        if backend == "tensorrt" and (problem := tensorrt_problem(device)):
            raise RuntimeError(problem)
        return _compiled(cache, EngineSpec(backend, placement.network, "fp16", closed_set), build, report)

    opened = makers(closed_set=False)
    measured = {name: device_row(name, make).values.get("device_ms", math.inf) for name, make in opened.items()}
    best = min(measured, key=measured.__getitem__)
    if not math.isfinite(measured[best]):
        return rows
    device_row(f"{best}, without CUDA graph", opened[best], graph=False)
    device_row(f"{best}, passes by PyTorch's operations", opened[best], fused=False)

    def closed(row: Row) -> None:
        # In turns with the open-set model: the difference sought is smaller than the drift of clocks.
        pair = [runner(make()) for make in (opened[best], makers(closed_set=True)[best])]
        both, alone = np.median([[timed(each) for each in pair] for _ in range(3)], axis=0).tolist()
        row.values = {"device_ms": alone, "open_set_ms": both, "overhead_percent": 100 * (both / alone - 1)}
        row.milliseconds = alone

    def host(row: Row) -> None:
        made, frame, levels = runner(opened[best]()), noise_frame(size), Levels(-10.0, card.confidence)
        total = interleaved_ms({best: lambda: made(frame, levels)}, repeats, warm_up=_WARM_UP)[best]
        row.values = {"host_to_host_ms": total, "over_device_ms": total - measured[best]}

    add(f"{best}, closed set, argmax alone", closed)
    add(f"{best}, host to host", host)
    return rows


def cpu_rows(
    model: LoadedModel, size: tuple[int, int], repeats: int, build: bool = True, report: Report = lambda text: None
) -> list[Row]:
    """Measures one model on the CPU, whole frames host to host, as ratios to eager fp32 without this package's passes.

    The arguments are those of ``gpu_rows``.
    """
    device = choose_device("cpu")
    cache = EngineCache(model.network, model.card.architecture, device)
    kernels, problem = host_kernels(cache.files)
    frame, levels = noise_frame(size), Levels(-10.0, model.card.confidence)
    placement = place("exact", size, size, model.network.input_stride)
    makers: dict[str, Callable[[], Engine]] = {
        f"eager {precision}": partial(eager_engine, model.network, precision, device) for precision in ("fp32", "bf16")
    }
    for precision in ("fp32", "bf16"):
        spec = EngineSpec("inductor", placement.network, precision)
        makers[f"inductor {precision}"] = partial(_compiled, cache, spec, build, report)
    if openvino_problem(device) is None:
        makers["openvino fp32"] = lambda: openvino_engine(model.network)
    runs: dict[str, Callable[[], object]] = {BASELINE: _plain_cpu(model, frame)}
    rows = {}
    for name, make in makers.items():
        report(f"{model.card.name} on the CPU: {name}")

        def prepare(row: Row, name: str = name, make: Callable[[], Engine] = make) -> None:
            runner = HostRunner(make(), placement, model.network.align_corners, kernels)
            with torch.inference_mode():
                runner(frame, levels)
            runs[name] = lambda: runner(frame, levels)

        rows[name] = _measured(f"{model.card.name} on the CPU: {name}", prepare)
        rows[name].note = problem
    with torch.inference_mode():
        times = interleaved_ms(runs, repeats)
    for name, row in rows.items():
        if name in times:
            row.values, row.milliseconds = {"times_faster_than_eager": times[BASELINE] / times[name]}, times[name]
    return list(rows.values())


def _plain_cpu(model: LoadedModel, frame: np.ndarray) -> Callable[[], object]:
    """What a program without this package would do: PyTorch's operations, channels last, float32."""
    network = copy.deepcopy(model.network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run() -> object:
        images = torch.from_numpy(frame).permute(2, 0, 1).unsqueeze(0).float() / 255
        size = (frame.shape[0], frame.shape[1])
        return dense_output(network(images), size, -10.0, model.card.confidence, model.network.align_corners)

    return run


def _compiled(cache: EngineCache, spec: EngineSpec, build: bool, report: Report) -> Engine:
    engine, problem = cache.find(spec)
    if engine is not None:
        return engine
    if not build:
        raise RuntimeError(f"{problem}; make one with densehybrid compile")
    return cache.build(spec, report)


def _measured(name: str, measure: Callable[[Row], None]) -> Row:
    row = Row(name)
    try:
        with torch.inference_mode():
            measure(row)
    except Exception as error:  # one row must not take the others with it
        text = (str(error).strip() or "no message").splitlines()[0]
        row.problem = f"{type(error).__name__}: {text}"
    return row


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


def device_rates(device: torch.device) -> tuple[float, float]:
    """Measures what the GPU reaches.

    Returns:
        Operations a second of a large fp16 product, and bytes a second (read plus written) of a large copy.
    """
    stream, side, size = torch.cuda.current_stream(device), 8192, 1 << 30
    left, right = (torch.randn(side, side, device=device, dtype=torch.float16) for _ in range(2))
    product = torch.empty_like(left)
    product_ms = device_ms(lambda: torch.mm(left, right, out=product), stream, 10)
    source = torch.empty(size, dtype=torch.uint8, device=device).random_(0, 255)
    target = torch.empty_like(source)
    copy_ms = device_ms(lambda: target.copy_(source), stream, 10)
    return 2.0 * side**3 / (product_ms * 1e-3), 2.0 * size / (copy_ms * 1e-3)
