"""What the measuring commands share: distance bins from options, a device for each process."""

from __future__ import annotations

import os

import torch

from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.distances import DEFAULT_EDGES, check_edges
from densehybrid_ros.evaluation.shards import Shards
from densehybrid_ros.inference.backends import choose_device


def distance_edges(text: str | None) -> tuple[float, ...]:
    """Reads the edges of distance bins in metres, as ``5,10,15``; LostAndFound's where nothing is given.

    Raises:
        InputError: They are no numbers, fewer than two, or do not rise.
    """
    if text is None:
        return DEFAULT_EDGES
    try:
        return check_edges([float(part) for part in text.split(",")])
    except ValueError as error:
        raise InputError(f"--bins {text}: write rising distances in metres, such as 5,10,15") from error


def process_device(name: str, shards: Shards) -> torch.device:
    """Chooses the device of this process: of several on a host, each has its own GPU or its part of the cores.

    Raises:
        InputError: There is no such device.
    """
    device = choose_device(name)
    if device.type == "cuda":
        if device.index is None:
            device = torch.device("cuda", shards.local_rank % torch.cuda.device_count())
        torch.cuda.set_device(device)
    elif shards.count > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // shards.count))
    return device
