# SPDX-License-Identifier: Apache-2.0
"""Work for a GPU beside the training step: launched by a thread of its own, on a stream of its own.

Crops take hundreds of small kernels, and some of them wait for numbers from the host. On the stream of the training
step each of these waits would empty the GPU's queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

_STEPS_AHEAD = 2  # what the host may launch before the GPU has come so far: each step's batch takes memory meanwhile

Tensors = TypeVar("Tensors", bound=Sequence[Tensor | None])


class SideStream:
    """Computes tensors on a GPU while the caller's own stream does something else."""

    def __init__(self, device: torch.device) -> None:
        """Starts the thread; what the caller's stream has launched so far is waited for."""
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._stream.wait_stream(torch.cuda.current_stream(device))
        self._pool = ThreadPoolExecutor(1, "side stream")
        self._steps: deque[torch.cuda.Event] = deque()

    def submit(self, work: Callable[[], Tensors]) -> Future[tuple[Tensors, torch.cuda.Event]]:
        """Lets ``work`` be done aside; to be handed to ``take``."""
        return self._pool.submit(self._do, work)

    def take(self, pending: Future[tuple[Tensors, torch.cuda.Event]]) -> Tensors:
        """Returns what ``work`` returned, for use on the caller's stream. What ``work`` raised is raised here."""
        tensors, ready = pending.result()
        current = torch.cuda.current_stream(self._device)
        launched = torch.cuda.Event(blocking=True)
        launched.record(current)
        self._steps.append(launched)
        if len(self._steps) > _STEPS_AHEAD:
            self._steps.popleft().synchronize()
        current.wait_event(ready)
        for tensor in tensors:
            if tensor is not None:
                tensor.record_stream(current)
        return tensors

    def close(self) -> None:
        """Waits for what is under way and drops the rest."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _do(self, work: Callable[[], Tensors]) -> tuple[Tensors, torch.cuda.Event]:
        with torch.cuda.stream(self._stream):
            tensors = work()
            ready = torch.cuda.Event()
            ready.record(self._stream)
        return tensors, ready


@contextmanager
def side_stream(device: torch.device) -> Iterator[SideStream]:
    """Opens a side stream and closes it in the end."""
    aside = SideStream(device)
    try:
        yield aside
    finally:
        aside.close()
