"""Measuring: medians of interleaved runs, times on the device, and the rates that a device reaches."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

_WARM_UP = 20
_MATRIX = 8192
_COPY_BYTES = 1 << 30
_RATE_RUNS = 10


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
    stream = torch.cuda.current_stream(device)
    left, right = (torch.randn(_MATRIX, _MATRIX, device=device, dtype=torch.float16) for _ in range(2))
    product = torch.empty_like(left)
    product_ms = device_ms(lambda: torch.mm(left, right, out=product), stream, _RATE_RUNS)
    source = torch.empty(_COPY_BYTES, dtype=torch.uint8, device=device).random_(0, 255)
    target = torch.empty_like(source)
    copy_ms = device_ms(lambda: target.copy_(source), stream, _RATE_RUNS)
    return 2.0 * _MATRIX**3 / (product_ms * 1e-3), 2.0 * _COPY_BYTES / (copy_ms * 1e-3)
