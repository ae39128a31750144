# SPDX-License-Identifier: Apache-2.0
"""``densehybrid bag``: frames, a video, the rendered road or a data set's sequences into rosbag2."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from densehybrid_ros.bags.data_sets import DATA_SETS, LOST_AND_FOUND_FPS, SPLITS, lost_and_found_sequences
from densehybrid_ros.bags.sources import DEFAULT_FPS, FolderFrames, FrameSource, RenderedFrames, VideoFrames
from densehybrid_ros.bags.topics import parse_topics
from densehybrid_ros.bags.writer import COMPRESSIONS, STORAGES, BagWriter
from densehybrid_ros.cli.options import add_json, count, positive, seed, size
from densehybrid_ros.datasets.evaluation_set import IGNORE
from densehybrid_ros.errors import InputError
from densehybrid_ros.progress import progress

_RENDERED = "rendered"
_DEFAULT_COUNT = 60
_DEFAULT_SIZE = (1024, 512)
_CAMERA, _PLANES = ("camera", "camera_size"), ("disparity", "labels", "semantic")
"""Options of what is known about frames."""

EXAMPLE = """example:
  densehybrid bag frames/ drive --fps 15 --camera camera.json --disparity disparity/ --labels labels/
  densehybrid bag dashcam.mp4 drive --compressed jpeg
  densehybrid bag rendered drive --seed 7 --frames 100
  densehybrid bag --dataset lost_and_found lost_and_found/ bags --scene 04_Maurener_Weg_8
  ros2 bag play drive"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.epilog = EXAMPLE
    text = "folder of pictures, video file, `rendered`, or a data set's root"
    parser.add_argument("source", metavar="SOURCE", help=text)
    text = "directory of the bag, replaced (data set: folder for the bags)"
    parser.add_argument("output", metavar="OUTPUT", type=Path, help=text)
    add = parser.add_argument_group("data set").add_argument
    add("--dataset", choices=DATA_SETS, help="SOURCE is this data set; one bag a sequence")
    add("--split", choices=SPLITS, help="part of the data set (default test)")
    add("--scene", metavar="NN_SCENE", help="the sequences of this scene alone")
    add = parser.add_argument_group("frames").add_argument
    text = f"frames a second (default {DEFAULT_FPS:g}; a video has its own; lost_and_found: frame numbers a second, "
    text += f"assumed to be {LOST_AND_FOUND_FPS:g} as Cityscapes', as its files do not say)"
    add("--fps", type=positive, help=text)
    add("--frames", type=count, metavar="N", help="take at most N frames (rendered: make N; data set: of a sequence)")
    add("--size", type=size, metavar="WxH", help="bring the frames to this size")
    add("--seed", type=seed, default=1, help="rendered: same seed, same drive (default 1)")
    add = parser.add_argument_group("what is known about a folder's frames (a video's: the camera)").add_argument
    add("--camera", type=Path, metavar="JSON", help="camera in Cityscapes' layout, or a folder with one a frame")
    add("--camera-size", type=size, metavar="WxH", help="the size that the camera JSON is for (default: the frames')")
    add("--disparity", type=Path, metavar="DIR", help="16-bit pictures, disparity (p - 1) / 256 px, 0 = invalid")
    add("--labels", type=Path, metavar="DIR", help="anomaly labels: 0 inlier, 1 anomaly, 255 ignore")
    add("--semantic", type=Path, metavar="DIR", help="semantic labels: train ids, 255 = none")
    add = parser.add_argument_group("bag").add_argument
    add("--frame-id", default="camera", help="optical frame of the camera (default camera)")
    add("--base-frame", default="base_link", help="frame of the vehicle on the road (default base_link)")
    add("--topics", default="", metavar="KEY=TOPIC,...", help="other names, such as image=/left/image")
    add("--compressed", choices=COMPRESSIONS, nargs="?", const="jpeg", help="CompressedImage (default jpeg)")
    add("--storage", choices=STORAGES, default="mcap", help="file format (default mcap)")
    add("--force", action="store_true", help="replace a bag that is there already")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Writes the bag, or a data set's bags."""
    if arguments.dataset:
        written = _write_data_set(arguments)
    else:
        _refuse(arguments, "a source without --dataset", ("split", "scene"))
        written = _write(arguments, {arguments.output: open_source(arguments)})
    if arguments.json:
        arguments.json.write({"bags": written})
    return 0


def _write_data_set(arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Writes one bag a sequence; each is whole or not there, and what was finished before an error stays."""
    _refuse(arguments, "a data set", (*_CAMERA, *_PLANES))
    output: Path = arguments.output
    if (output / "metadata.yaml").is_file() or (output.exists() and not output.is_dir()):
        raise InputError(f"{output}: exists and is no folder for bags; choose another name")
    source, split, fps = Path(arguments.source), arguments.split or "test", arguments.fps or LOST_AND_FOUND_FPS
    sequences = lost_and_found_sequences(source, split, arguments.scene, fps, arguments.frames, arguments.size)
    made_here = not output.exists()
    try:
        return _write(arguments, {output / sequence.name: sequence for sequence in sequences})
    finally:
        if made_here:
            with suppress(OSError):  # it holds bags, or was never made
                output.rmdir()


def _write(arguments: argparse.Namespace, sources: Mapping[Path, FrameSource]) -> list[dict[str, object]]:
    """Writes the bags; what it found out about each is printed, and returned for JSON."""
    topics = parse_topics(arguments.topics)
    how = {"storage": arguments.storage, "compression": arguments.compressed, "overwrite": arguments.force}
    frames = {"topics": topics, "frame_id": arguments.frame_id, "base_frame": arguments.base_frame}
    # All writers before the first bag: each sees whether its bag may be written.
    writers = [BagWriter(path, **frames, **how) for path in sources]
    written: list[dict[str, object]] = []
    for writer, (path, source) in zip(writers, sources.items(), strict=True):
        number, unlabelled, shape = 0, 0, (0, 0)
        with writer:
            task = f"writing {path.name}" if arguments.dataset else "writing the bag"
            for frame in progress(source, task, len(source) or None):
                writer.write(frame)
                number, shape = number + 1, frame.size
                unlabelled += frame.labels is not None and bool(np.all(frame.labels == IGNORE))
        megabytes = sum(file.stat().st_size for file in path.iterdir()) / 1e6
        side, remark = f"{shape[0]}x{shape[1]}", f", {unlabelled} without a labelled pixel" if unlabelled else ""
        print(f"{path}: {number} frames of {side}{remark}, {megabytes:.1f} MB ({arguments.storage})")
        about = {"bag": str(path), "frames": number, "size": side, "unlabelled": unlabelled}
        written.append(about | {"megabytes": round(megabytes, 3), "storage": arguments.storage})
    return written


def open_source(arguments: argparse.Namespace) -> FrameSource:
    """Finds out what SOURCE is.

    Raises:
        InputError: There is nothing of that name, or an option does not apply to it.
    """
    path = Path(arguments.source)
    if arguments.source == _RENDERED:
        _refuse(arguments, "the rendered road", (*_CAMERA, *_PLANES))
        fps, number = arguments.fps or DEFAULT_FPS, arguments.frames or _DEFAULT_COUNT
        return RenderedFrames(arguments.seed, number, arguments.size or _DEFAULT_SIZE, fps)
    known = {name: getattr(arguments, name) for name in (*_CAMERA, "size")} | {"limit": arguments.frames}
    if not path.is_dir():
        _refuse(arguments, "a video", _PLANES)
        return VideoFrames(path, arguments.fps, **known)
    known |= {role: getattr(arguments, role) for role in _PLANES}
    return FolderFrames(path, arguments.fps or DEFAULT_FPS, **known)


def _refuse(arguments: argparse.Namespace, source: str, options: tuple[str, ...]) -> None:
    for option in options:
        if getattr(arguments, option) is not None:
            raise InputError(f"--{option.replace('_', '-')}: does not apply to {source}; leave it out")
