# SPDX-License-Identifier: Apache-2.0
"""Several processes on one run: torchrun starts them, DistributedDataParallel averages their gradients."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from densehybrid_ros.errors import InputError


@dataclass(frozen=True)
class Processes:
    """The processes of this run; one where torchrun did not start it."""

    rank: int = 0  # Number of this process, from 0
    count: int = 1  # How many there are

    @property
    def is_first(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0

    def share(self, total: int) -> int:
        """Returns how many of a batch's crops fall to one process.

        Raises:
            InputError: They can't be shared out evenly.
        """
        if total % self.count:
            raise InputError(f"batch_size={total}: must be a multiple of {self.count}, the number of processes")
        return total // self.count

    def wrap(self, module: nn.Module, device: torch.device, unused: bool = False) -> nn.Module:
        """Returns the module inside DistributedDataParallel, or as it is in a run of one process.

        Its state of rank 0 becomes everyone's, once. ``unused``: some parameters may get no gradient.
        """
        if self.count == 1:
            return module
        self.align_buffers(module)
        ids = [device.index] if device.type == "cuda" else None
        return DistributedDataParallel(
            module,
            device_ids=ids,
            find_unused_parameters=unused,
            broadcast_buffers=False,  # see ``align_buffers``: each step would pay for what only validation needs
            gradient_as_bucket_view=True,
        )

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Adds up a tensor over all processes, in place."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def align_buffers(self, module: nn.Module) -> None:
        """Gives everyone rank 0's buffers: batch-norm statistics are of each process's own crops."""
        if self.count > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, 0)

    def wait(self) -> None:
        """Waits for the others."""
        if self.count > 1:
            dist.barrier()

    def close(self) -> None:
        """Leaves the group."""
        if self.count > 1 and dist.is_initialized():
            dist.destroy_process_group()


ALONE = Processes()
"""A run of one process."""


def join(device: torch.device) -> tuple[Processes, torch.device]:
    """Joins the processes that torchrun started, if it did, and chooses this one's device.

    ``cuda`` without a number becomes the GPU of this process's local rank.

    Raises:
        InputError: There are more processes than GPUs.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if device.type == "cuda" and device.index is None:
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise InputError(
                f"--nproc-per-node: more processes than the {torch.cuda.device_count()} GPUs of this machine"
            )
        device = torch.device("cuda", local)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if count > 1:
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    return Processes(int(os.environ.get("RANK", "0")), count), device
