"""``densehybrid info``: what this machine offers, for a person or a bug report."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from densehybrid_ros import __version__
from densehybrid_ros.errors import InputError
from densehybrid_ros.files import write_text_atomically
from densehybrid_ros.networks import read_card, shipped_models

_PACKAGES = ("torch", "torch_tensorrt", "numpy", "opencv-python-headless", "rosbags", "safetensors")


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.epilog = "example:\n  densehybrid info --json info.json"
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the same as JSON")


def run(args: argparse.Namespace) -> int:
    """Prints the table."""
    facts = collect()
    if args.json:
        write_text_atomically(args.json, json.dumps(facts, indent=2) + "\n")
    width = max(len(key) for key in facts)
    for key, value in facts.items():
        lines = value if isinstance(value, list) else [value]
        for index, line in enumerate(lines or ["none"]):
            print(f"{key if index == 0 else '':<{width}}  {line}")
    return 0


def collect() -> dict[str, Any]:
    """Returns what the table shows: name -> text, or a list of texts."""
    return {
        "densehybrid_ros": __version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "processor": f"{os.cpu_count()} cores, {torch.get_num_threads()} threads for PyTorch",
        "gpu": _gpus(),
        **{name: _version(name) for name in _PACKAGES},
        "ros": _ros(),
        "models": _models(),
    }


def _gpus() -> list[str]:
    if not torch.cuda.is_available():
        return ["none: the node runs on the CPU"]
    descriptions = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = properties.total_memory / 2**30
        capability = f"{properties.major}.{properties.minor}"
        descriptions.append(f"cuda:{index} {properties.name}, {memory:.0f} GiB, compute capability {capability}")
    return descriptions


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        pass
    # The distribution's own packages (python3-opencv and the like) carry another name in their metadata, or none.
    module = {"opencv-python-headless": "cv2"}.get(package, package)
    try:
        return str(importlib.import_module(module).__version__)
    except (ImportError, AttributeError):
        return "not installed"


def _ros() -> str:
    try:
        version = metadata.version("rclpy")
    except metadata.PackageNotFoundError:
        return "rclpy is not installed: the offline commands work, the node does not"
    return f"rclpy {version}, distribution {os.environ.get('ROS_DISTRO', 'from the Python registry')}"


def _models() -> list[str]:
    descriptions = []
    for name, path in shipped_models().items():
        try:
            card = read_card(path.with_suffix(".yaml"))
        except InputError as error:
            descriptions.append(str(error))
            continue
        threshold = (
            f"threshold {card.default_threshold} = {card.threshold():.3f}" if card.thresholds else "no threshold"
        )
        size = path.stat().st_size / 1e6
        descriptions.append(f"{name}: {card.architecture}, {card.num_classes} classes, {size:.1f} MB, {threshold}")
    return descriptions
