# SPDX-License-Identifier: Apache-2.0
"""Sharing a data set among processes that torchrun started, and bringing their figures together."""

from __future__ import annotations

import os
from typing import Protocol, TypeVar

import torch.distributed as dist


class Mergeable(Protocol):
    """State that can take in the state of another shard."""

    def merge(self, other: Mergeable) -> None:
        """Adds what the other has counted."""


M = TypeVar("M")
T = TypeVar("T")


class Shards:
    """The processes of this run; one process where torchrun did not start it.

    Attributes:
        rank: Number of this process, from 0.
        count: How many there are.
    """

    def __init__(self) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        if self.count > 1 and not dist.is_initialized():
            dist.init_process_group("gloo")  # figures travel as CPU objects, whatever device computes them

    @property
    def is_first(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0

    @property
    def local_rank(self) -> int:
        """Number of this process on its host, which chooses its GPU."""
        return int(os.environ.get("LOCAL_RANK", "0"))

    def indices(self, total: int) -> range:
        """Returns the frames of this process: every ``count``-th, so that all get frames of each group."""
        return range(self.rank, total, self.count)

    def merged(self, state: M) -> M:
        """Merges the states of all processes in the order of their ranks and returns the result to each."""
        if self.count == 1:
            return state
        gathered: list[M | None] | None = [None] * self.count if self.is_first else None
        dist.gather_object(state, gathered)
        if gathered is not None:
            for other in gathered[1:]:
                state.merge(other)  # type: ignore[attr-defined]
        return self.broadcast(state)

    def broadcast(self, value: T) -> T:
        """Returns the first process's value to all."""
        if self.count == 1:
            return value
        holder = [value]
        dist.broadcast_object_list(holder)
        return holder[0]

    def close(self) -> None:
        """Leaves the group."""
        if self.count > 1 and dist.is_initialized():
            dist.destroy_process_group()
