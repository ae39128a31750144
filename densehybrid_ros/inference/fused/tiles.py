# SPDX-License-Identifier: Apache-2.0
"""How the kernels divide their work: block sizes by kernel and shape, measured on the device or taken as given."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from densehybrid_ros.files import write_text_atomically

_LAUNCHES, _REPLAYS = 10, 3


class Tile(NamedTuple):
    """How a kernel divides its work.

    Attributes:
        pixels: What a program computes of the result's pixels.
        outputs: And of its channels.
        inputs: Channels, or rows, that it takes at a time.
        warps: Groups of 32 threads of a program.
        stages: Loads in flight.
    """

    pixels: int
    outputs: int
    inputs: int
    warps: int
    stages: int


class Tiles:
    """The tile of each kernel and shape.

    A tile changes how long a kernel takes and, by the order of its sums, the last bits of its results.
    """

    def __init__(self, table: Mapping[str, Tile] | None = None) -> None:
        """Takes what is known: kernel and shape -> tile; for the rest the first candidate that this device can run."""
        self._table, self._tuning = dict(table or {}), False

    def tune(self) -> None:
        """Forgets all tiles and measures each from now on where it is first needed."""
        self._table.clear()
        self._tuning = True

    def launch(self, key: str, candidates: Sequence[Tile], run: Callable[[Tile], object]) -> None:
        """Launches a kernel with its tile, the best of ``candidates``; ``run`` must be harmless to repeat.

        Raises:
            RuntimeError: The device can run the kernel with none of them.
        """
        tile = self._table.get(key)
        if tile is not None:
            run(tile)
            return
        if self._tuning:
            candidates = sorted(candidates, key=partial(_milliseconds, run))
        problem: Exception | None = None
        for tile in candidates:
            problem = _problem(run, tile)
            if problem is None:
                self._table[key] = tile
                return
        raise RuntimeError(f"{key}: no tile of {len(candidates)} runs on this device ({problem})") from problem

    def write(self, path: Path) -> None:
        """Writes the table as JSON."""
        table = {key: list(tile) for key, tile in sorted(self._table.items())}
        write_text_atomically(path, json.dumps(table, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Tiles:
        """Reads what ``write`` wrote.

        Raises:
            ValueError, TypeError, AttributeError: The file holds something else.
        """
        table = json.loads(path.read_text(encoding="utf-8"))
        return cls({str(key): Tile(*(int(number) for number in tile)) for key, tile in table.items()})


def _problem(run: Callable[[Tile], object], tile: Tile) -> Exception | None:
    try:
        run(tile)
    except Exception as error:  # Triton has several: more shared memory or registers than there are
        return error
    return None


def _milliseconds(run: Callable[[Tile], object], tile: Tile) -> float:
    """Median time of a launch among others; they go in a graph, since a small kernel runs shorter than its launch."""
    if _problem(run, tile) is not None:  # compiles, too
        return float("inf")
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(_LAUNCHES):
            run(tile)
    times = []
    for _ in range(_REPLAYS):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / _LAUNCHES)
    return statistics.median(times)
