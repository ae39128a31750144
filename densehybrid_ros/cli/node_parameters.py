"""What the commands share that drive frames with the node's parameters: their options, and the model."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from densehybrid_ros.cli.options import finite
from densehybrid_ros.errors import InputError
from densehybrid_ros.hazards.regions import unknown_classes
from densehybrid_ros.inference import Segmenter
from densehybrid_ros.perception.parameter_files import read_settings
from densehybrid_ros.perception.perception import open_segmenter
from densehybrid_ros.perception.settings import Settings


def add_node_parameters(parser: argparse.ArgumentParser) -> None:
    """Adds the options that give the node's parameters."""
    node = parser.add_argument_group("parameters, exactly those of the node")
    node.add_argument("--params-file", type=Path, metavar="FILE", help="ROS parameter file of the node")
    node.add_argument(
        "-p",
        dest="assignments",
        action="append",
        default=[],
        metavar="NAME:=VALUE",
        help="a parameter; may be repeated",
    )
    node.add_argument("--model", help="short for -p model:=...")
    node.add_argument("--threshold", type=finite, metavar="NATS", help="short for -p anomaly_threshold:=...")
    node.add_argument("--device", help="short for -p device:=...")


def given_settings(args: argparse.Namespace) -> Settings:
    """Returns the parameters that the command line gives.

    Raises:
        InputError: The file can't be read, or a parameter is not the node's or has a wrong value.
    """
    short = {"model": args.model, "device": args.device, "anomaly_threshold": args.threshold}
    quoted = [f"{name}:={json.dumps(value)}" for name, value in short.items() if value is not None]
    return read_settings(args.params_file, [*args.assignments, *quoted], warn)


def open_model(settings: Settings) -> tuple[Segmenter, Settings]:
    """Loads the model, and returns the parameters with its threshold where they give none.

    Raises:
        InputError: The model can't be had, its card has no such threshold, or a drivable class is none of its.
    """
    segmenter = open_segmenter(settings, warn)
    card = segmenter.card
    if settings.anomaly_threshold is None:
        settings = replace(settings, anomaly_threshold=card.threshold(settings.threshold_name or None))
    if strange := unknown_classes(card.classes, settings.drivable_classes):
        known = ", ".join(item.name for item in card.classes)
        raise InputError(f"drivable_classes: {settings.model} has no class {strange[0]!r}; it has: {known}")
    return segmenter, settings


def warn(text: str) -> None:
    """Tells a user something on stderr."""
    print(text, file=sys.stderr)
