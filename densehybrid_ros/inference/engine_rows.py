# SPDX-License-Identifier: Apache-2.0
"""The rows of ``densehybrid benchmark engine``: each is measured by itself, and one that fails says why."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from densehybrid_ros.files import write_text_atomically
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
from densehybrid_ros.inference.timing import device_ms, device_rates, interleaved_ms, wall_ms
from densehybrid_ros.networks import LoadedModel

BASELINE = "eager fp32, one operation after another"


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

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types."""
        return asdict(self)

    @property
    def result(self) -> str:
        """The figures, or why there are none."""
        return self.problem or "  ".join(f"{name} {value:.4g}" for name, value in self.values.items())


@dataclass
class Settings:
    """What to measure.

    Attributes:
        size: (height, width) of the frame.
        repeats: Runs of which the median is taken.
        cache: Directory of engines; None: the user's.
        build: Compile what the cache lacks.
        tune: Measure inductor's tuned engine as well, whose build takes minutes.
        profile: Where to write a profile of the best row; None: nowhere.
        report: Is told what is being done.
    """

    size: tuple[int, int]
    repeats: int
    cache: Path | None = None
    build: bool = True
    tune: bool = False
    profile: Path | None = None
    report: Report = lambda text: None


def noise_frame(size: tuple[int, int]) -> np.ndarray:
    """Returns a random frame, uint8 [H, W, 3]."""
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)


def gpu_rows(model: LoadedModel, device: torch.device, settings: Settings) -> list[Row]:
    """Measures one model on a GPU in fp16: all backends, the closed-set model on the best, and host to host."""
    measured = _Gpu(model, device, settings)
    best: tuple[float, str] | None = None
    for name, make in measured.engines(closed_set=False).items():
        row = measured.device_row(f"{model.card.name}: {name}", make)
        if row.values and (best is None or row.values["device_ms"] < best[0]):
            best = row.values["device_ms"], name
    if best is not None:
        measured.best_rows(best[1], best[0])
    return measured.rows


class _Gpu:
    def __init__(self, model: LoadedModel, device: torch.device, settings: Settings) -> None:
        self._model, self._device, self._settings = model, device, settings
        self._cache = EngineCache(model.network, model.card.architecture, device, settings.cache)
        self._flops, self._bandwidth = device_rates(device)
        self._placement = place("exact", settings.size, settings.size, model.network.input_stride)
        self._cost = network_cost(model.network, self._placement.network, torch.float16)
        self.rows: list[Row] = []

    def engines(self, closed_set: bool) -> dict[str, Callable[[], Engine]]:
        network, size = self._model.network, self._placement.network

        def compiled(backend: str, tuned: bool = False) -> Callable[[], Engine]:
            spec = EngineSpec(backend, size, "fp16", closed_set, tuned)
            return lambda: _compiled(self._cache, spec, self._settings)

        def eager() -> Engine:
            return eager_engine(network, "fp16", self._device, closed_set=closed_set)

        found = {}
        if fused_problem(network, self._device) is None:
            found["eager fp16, fused kernels"] = compiled("eager")
        found |= {
            "eager fp16, PyTorch's operations": eager,
            "tensorrt fp16": compiled("tensorrt"),
            "inductor fp16": compiled("inductor"),
        }
        if self._settings.tune:
            found["inductor fp16, tuned"] = compiled("inductor", tuned=True)
        problem = tensorrt_problem(self._device)
        if problem:
            found["tensorrt fp16"] = _refuse(problem)
        return found

    def device_row(self, name: str, make: Callable[[], Engine], **options: bool) -> Row:
        def measure(row: Row) -> None:
            runner = self._runner(make(), **options)
            row.note = runner.note
            row.values = self._device_values(device_ms(runner.compute, runner.stream, self._settings.repeats))

        return self._add(name, measure)

    def best_rows(self, best: str, best_ms: float) -> None:
        name, make = self._model.card.name, self.engines(closed_set=False)[best]
        self.device_row(f"{name}: {best}, without CUDA graph", make, graph=False)
        self.device_row(f"{name}: {best}, passes by PyTorch's operations", make, fused=False)

        def closed(row: Row) -> None:
            # In turns with the open-set model: the difference sought is smaller than the drift of clocks.
            runners = {
                "open": self._runner(make()),
                "closed": self._runner(self.engines(closed_set=True)[best]()),
            }
            turns = [
                {key: device_ms(each.compute, each.stream, self._settings.repeats) for key, each in runners.items()}
                for _ in range(3)
            ]
            opened, alone = (sorted(turn[key] for turn in turns)[1] for key in ("open", "closed"))
            row.values = {"device_ms": alone, "open_set_ms": opened, "overhead_percent": 100 * (opened / alone - 1)}

        self._add(f"{name}: {best}, closed set, argmax alone", closed)

        def host(row: Row) -> None:
            runner = self._runner(make())
            frame, levels = noise_frame(self._settings.size), Levels(-10.0, self._model.card.confidence)
            total = wall_ms(lambda: runner(frame, levels), self._settings.repeats)
            row.values = {"host_to_host_ms": total, "over_device_ms": total - best_ms}

        self._add(f"{name}: {best}, host to host", host)
        if self._settings.profile is not None:
            path = self._settings.profile
            self._add(f"{name}: profile in {path}", lambda row: _profile(self._runner(make()), path))

    def _runner(self, engine: Engine, graph: bool = True, fused: bool = True) -> DeviceRunner:
        align, confidence = self._model.network.align_corners, self._model.card.confidence
        return DeviceRunner(engine, self._placement, align, self._device, confidence, graph=graph, fused=fused)

    def _device_values(self, milliseconds: float) -> dict[str, float]:
        cost = self._cost
        floor = cost.floor_ms(self._flops, self._bandwidth)
        return {
            "device_ms": milliseconds,
            "gflop": cost.flops / 1e9,
            "megabytes": cost.megabytes,
            "floor_ms": floor,
            "times_floor": milliseconds / floor,
        }

    def _add(self, name: str, measure: Callable[[Row], None]) -> Row:
        self._settings.report(name)
        row = _measured(name, measure)
        self.rows.append(row)
        self._settings.report(f"{name}: {row.result}")
        torch.cuda.empty_cache()
        return row


def cpu_rows(model: LoadedModel, settings: Settings, show_times: bool = False) -> list[Row]:
    """Measures one model on the CPU, whole frames host to host, as ratios to eager fp32 without this package's passes.

    Args:
        model: The model.
        settings: What to measure.
        show_times: Milliseconds as well; on a machine that others use they mean little.
    """
    device = choose_device("cpu")
    cache = EngineCache(model.network, model.card.architecture, device, settings.cache)
    kernels, problem = host_kernels(cache.files)
    frame, levels = noise_frame(settings.size), Levels(-10.0, model.card.confidence)
    placement = place("exact", settings.size, settings.size, model.network.input_stride)
    makers: dict[str, Callable[[], Engine]] = {
        "eager fp32": lambda: eager_engine(model.network, "fp32", device),
        "eager bf16": lambda: eager_engine(model.network, "bf16", device),
        "inductor fp32": lambda: _compiled(cache, EngineSpec("inductor", placement.network, "fp32"), settings),
        "inductor bf16": lambda: _compiled(cache, EngineSpec("inductor", placement.network, "bf16"), settings),
    }
    if openvino_problem(device) is None:
        makers["openvino fp32"] = lambda: openvino_engine(model.network)
    runs: dict[str, Callable[[], object]] = {BASELINE: _plain_cpu(model, frame)}
    rows = {}
    for name, make in makers.items():
        settings.report(f"{model.card.name} on the CPU: {name}")

        def prepare(row: Row, name: str = name, make: Callable[[], Engine] = make) -> None:
            runner = HostRunner(make(), placement, model.network.align_corners, kernels)
            with torch.inference_mode():
                runner(frame, levels)
            runs[name] = lambda: runner(frame, levels)

        rows[name] = _measured(f"{model.card.name} on the CPU: {name}", prepare)
        rows[name].note = problem
    with torch.inference_mode():
        times = interleaved_ms(runs, settings.repeats)
    for name, row in rows.items():
        if name in times:
            row.values = {"times_faster_than_eager": times[BASELINE] / times[name]}
            if show_times:
                row.values["milliseconds"] = times[name]
    return list(rows.values())


def _plain_cpu(model: LoadedModel, frame: np.ndarray) -> Callable[[], object]:
    """What a program without this package would do: PyTorch's operations, channels last, float32."""
    network = copy.deepcopy(model.network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run() -> object:
        images = torch.from_numpy(frame).permute(2, 0, 1).unsqueeze(0).float() / 255
        size = (frame.shape[0], frame.shape[1])
        return dense_output(network(images), size, -10.0, model.card.confidence, model.network.align_corners)

    return run


def _compiled(cache: EngineCache, spec: EngineSpec, settings: Settings) -> Engine:
    engine, problem = cache.find(spec)
    if engine is not None:
        return engine
    if not settings.build:
        raise RuntimeError(f"{problem}; make one with densehybrid compile")
    return cache.build(spec, settings.report)


def _measured(name: str, measure: Callable[[Row], None]) -> Row:
    row = Row(name)
    try:
        with torch.inference_mode():
            measure(row)
    except Exception as error:  # one row must not take the others with it
        text = (str(error).strip() or "no message").splitlines()[0]
        row.problem = f"{type(error).__name__}: {text}"
    return row


def _refuse(problem: str) -> Callable[[], Engine]:
    def refuse() -> Engine:
        raise RuntimeError(problem)

    return refuse


def _profile(runner: DeviceRunner, path: Path) -> None:
    from torch.profiler import ProfilerActivity, profile

    with torch.cuda.stream(runner.stream):
        runner.compute()
        with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as profiler:
            for _ in range(10):
                runner.compute()
            runner.stream.synchronize()
    table = profiler.key_averages().table(sort_by="self_cuda_time_total", row_limit=60, max_name_column_width=100)
    write_text_atomically(path, table)
