"""What the measuring commands share: distance bins and hazard settings from options, a device for each process."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Any

import torch

from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.distances import DEFAULT_EDGES, check_edges
from densehybrid_ros.evaluation.shards import Shards
from densehybrid_ros.hazards.settings import HazardSettings
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


def hazard_settings(text: str) -> HazardSettings:
    """Reads settings of the hazard stage, as ``trigger_count=1,on_road_only=false``; the rest keeps its default.

    A list is written with colons: ``roi=0:0.4:1:0.4:1:1:0:1``.

    Raises:
        InputError: There is no such setting, or its value is not allowed.
    """
    defaults = HazardSettings()
    known = [field.name for field in fields(HazardSettings)]
    values: dict[str, Any] = {}
    for entry in filter(None, text.split(",")):
        name, _, value = entry.strip().partition("=")
        if name not in known:
            raise InputError(f"--hazards {entry!r}: write KEY=VALUE with KEY one of {', '.join(known)}")
        try:
            values[name] = _value_like(getattr(defaults, name), value)
        except ValueError as error:
            kind = type(getattr(defaults, name)).__name__
            raise InputError(f"--hazards {entry!r}: {value!r} is no {kind}") from error
    try:
        return HazardSettings(**values)
    except InputError as error:
        raise InputError(f"--hazards: {error}") from error


def _value_like(default: Any, text: str) -> Any:
    if isinstance(default, bool):
        if text not in ("true", "false"):
            raise ValueError(text)
        return text == "true"
    if isinstance(default, tuple):
        return tuple(type(default[0])(part) for part in text.split(":"))
    return type(default)(text)


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
