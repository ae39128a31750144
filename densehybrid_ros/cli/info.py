# SPDX-License-Identifier: Apache-2.0
"""``densehybrid info``: what this machine offers, for a person or a bug report; and whether the models are whole."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from densehybrid_ros import __version__
from densehybrid_ros.cli.options import JsonOutput, add_json
from densehybrid_ros.errors import InputError
from densehybrid_ros.files import file_digest
from densehybrid_ros.inference.backends import tensorrt_problem
from densehybrid_ros.inference.cache import default_cache, sharing_problem
from densehybrid_ros.inference.engine_cache import list_engines
from densehybrid_ros.inference.host_kernels import compiler
from densehybrid_ros.inference.machine import version_facts
from densehybrid_ros.networks import architecture_names, check_output, load_model, read_card, shipped_models, write_card
from densehybrid_ros.progress import progress

_PACKAGES = ("torch", "triton", "numpy", "opencv-python-headless", "rosbags", "safetensors", "openvino")


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.epilog = (
        "examples:\n  densehybrid info --json info.json\n  densehybrid info --check\n"
        "  densehybrid info --check runs/light.safetensors --add-digest"
    )
    add_json(parser)
    parser.add_argument("--cache", type=Path, metavar="DIR", help="where engines are kept (user's cache directory)")
    text = "nothing of that, but whether these models (all shipped ones) are whole: card, digest, weights, and the "
    text += "output for a tiny frame; exit status 2 where one is not"
    parser.add_argument("--check", nargs="*", metavar="MODEL", help=text)
    parser.add_argument("--add-digest", action="store_true", help="with --check: write it into cards that have none")


def run(args: argparse.Namespace) -> int:
    """Prints the table, or checks models."""
    if args.check is not None:
        return _check(args.check or list(shipped_models()), args.add_digest, args.json)
    if args.add_digest:
        raise InputError("--add-digest: needs --check")
    facts = collect(args.cache)
    if args.json:
        args.json.write(facts)
    width = max(len(key) for key in facts)
    for key, value in facts.items():
        lines = value if isinstance(value, list) else [value]
        for index, line in enumerate(lines or ["none"]):
            print(f"{key if index == 0 else '':<{width}}  {line}")
    return 0


def collect(cache: Path | None = None) -> dict[str, Any]:
    """Returns what the table shows: name -> text, or a list of texts; the cache of engines is the user's if None."""
    return {
        "densehybrid_ros": __version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "processor": f"{os.cpu_count()} cores, {torch.get_num_threads()} threads for PyTorch",
        "gpu": _gpus(),
        **{name: _version(name) for name in _PACKAGES},
        "torch_tensorrt": _torch_tensorrt(),
        "C++ compiler": compiler() or "none: inductor can't compile, and the CPU's pass after the network is slower",
        "ros": _ros(),
        "models": _models(),
        "architectures": ", ".join([*architecture_names(), "timm:...", "torchvision:...", "smp:..."]),
        "engine cache": sharing_problem(cache or default_cache()) or str(cache or default_cache()),
        "engines": list_engines(cache) or ["none: densehybrid compile makes one"],
    }


def _check(names: list[str], add_digest: bool, output: JsonOutput | None) -> int:
    if not names:
        raise InputError("--check: no model is shipped beside the package; name a .safetensors file")
    found: dict[str, str] = {}
    wrong = 0
    for name in progress(names, "check", unit="model"):
        try:
            model = load_model(name)
            check_output(model)
            digest = f"sha256 {model.card.sha256}" if model.card.sha256 else "no sha256 in its card"
            if add_digest and not model.card.sha256:
                made = file_digest(model.path)
                write_card(model.path.with_suffix(".yaml"), replace(model.card, sha256=made))
                digest = f"sha256 {made}, added to its card"
            found[name] = f"whole; {model.card.architecture}, {model.card.num_classes} classes, {digest}"
        except InputError as error:
            wrong += 1
            found[name] = f"wrong; {error}"
        print(f"{name}: {found[name]}")
    if output:
        output.write(found)
    return 2 if wrong else 0


def _gpus() -> list[str]:
    if not torch.cuda.is_available():
        return ["none: the node runs on the CPU"]
    return [
        f"cuda:{index} {one.name}, {one.total_memory / 2**30:.0f} GiB, compute capability {one.major}.{one.minor}"
        for index, one in enumerate(map(torch.cuda.get_device_properties, range(torch.cuda.device_count())))
    ]


def _torch_tensorrt() -> str:
    problem = tensorrt_problem(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    return f"backend tensorrt can't run here: {problem}" if problem else str(version_facts("tensorrt")["tensorrt"])


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
        default = f"threshold {card.default_threshold} = {card.threshold():.3f}" if card.thresholds else "no threshold"
        size = path.stat().st_size / 1e6
        descriptions.append(f"{name}: {card.architecture}, {card.num_classes} classes, {size:.1f} MB, {default}")
    return descriptions
