# SPDX-License-Identifier: Apache-2.0
"""What the commands that drive recordings share: the parameters of the node, and the model that they name."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from densehybrid_ros.bags.reader import open_recording
from densehybrid_ros.bags.recording import LeaveOut, Recording
from densehybrid_ros.bags.topics import parse_topics
from densehybrid_ros.cli.options import count, positive
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.replay import with_base_frame
from densehybrid_ros.hazards.road import unknown_classes
from densehybrid_ros.inference import Segmenter
from densehybrid_ros.perception.parameter_files import read_settings
from densehybrid_ros.perception.perception import Perception, open_segmenter, picture_reader
from densehybrid_ros.perception.settings import PARAMETERS, Settings


def add_drive_options(parser: argparse.ArgumentParser, fps: str = "") -> argparse._ArgumentGroup:
    """Adds what is read of a recording, with more to be said of ``--fps``, and the parameters; returns their group."""
    parser.add_argument("--topics", default="", metavar="KEY=TOPIC,...", help="other names, such as image=/left/image")
    rate = "frames a second of pictures (default 10) or a video (its own)"
    parser.add_argument("--fps", type=positive, help=rate + fps)
    parser.add_argument("--limit", type=count, metavar="N", help="the first N frames of each recording")
    node = parser.add_argument_group("parameters, exactly those of the node")
    node.add_argument("--params-file", type=Path, metavar="FILE", help="ROS parameter file of the node")
    what = "a parameter; may be repeated"
    node.add_argument("-p", dest="assignments", action="append", default=[], metavar="NAME:=VALUE", help=what)
    node.add_argument("--model", help="short for -p model:=...")
    node.add_argument("--device", help="short for -p device:=...")
    return node


def given_settings(args: argparse.Namespace) -> Settings:
    """Reads the parameters that the options give.

    Raises:
        InputError: As ``read_settings``; or ``--topics`` are none.
    """
    parse_topics(args.topics)  # wrong ones end the command before any work
    short = {"model": args.model, "device": args.device}
    quoted = [f"{name}:={json.dumps(value)}" for name, value in short.items() if value is not None]
    return read_settings(args.params_file, [*args.assignments, *quoted], warn)


def open_drive(
    args: argparse.Namespace, path: Path, segmenter: Segmenter, settings: Settings, leave_out: LeaveOut
) -> tuple[Recording, Perception, int]:
    """Opens a recording.

    Returns:
        The recording, the perception that it is to be driven through, and how many frames it is asked for.

    Raises:
        InputError: It can't be read.
    """
    topics, read = parse_topics(args.topics), picture_reader(settings, segmenter.card)
    recording = open_recording(path, topics, leave_out, settings.disparity_tolerance, args.fps, read)
    perception = Perception(segmenter, with_base_frame(recording, settings))
    return recording, perception, min(len(recording), args.limit or len(recording))


def warn(text: str) -> None:
    """Tells people something on stderr."""
    print(text, file=sys.stderr)


def open_model(settings: Settings, given: float | str | None = None) -> tuple[Segmenter, Settings, float]:
    """Loads the model, and takes from its card what the parameters leave open.

    A threshold that is ``given``, in nats or as a name in the card, takes the place of the parameter's.

    Returns:
        The segmenter, the parameters with the threshold, and the threshold in nats.

    Raises:
        InputError: The model can't be run, the card has no such threshold, or not the drivable classes.
    """
    segmenter = open_segmenter(settings, warn)
    card, own = segmenter.card, settings.anomaly_threshold
    if given is None:
        given = settings.threshold_name or None if own is None else own
    threshold = card.threshold(given)
    PARAMETERS["anomaly_threshold"].check(threshold)
    if strange := unknown_classes(card.classes, settings.drivable_classes):
        known = ", ".join(item.name for item in card.classes)
        raise InputError(f"drivable_classes: {settings.model} has no class {strange[0]!r}; it has: {known}")
    return segmenter, replace(settings, anomaly_threshold=threshold), threshold
