# SPDX-License-Identifier: Apache-2.0
"""``densehybrid bag``: frames, a video or the rendered road into rosbag2."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from densehybrid_ros.bags.sources import DEFAULT_FPS, FolderFrames, FrameSource, RenderedFrames, VideoFrames
from densehybrid_ros.bags.topics import parse_topics
from densehybrid_ros.bags.writer import COMPRESSIONS, STORAGES, BagWriter
from densehybrid_ros.cli.options import add_json, count, positive, seed, size
from densehybrid_ros.datasets.evaluation_set import IGNORE
from densehybrid_ros.errors import InputError
from densehybrid_ros.progress import progress

_EXAMPLE = """example:
  densehybrid bag frames/ drive --fps 15 --camera camera.json --disparity disparity/ --labels labels/
  densehybrid bag dashcam.mp4 drive --compressed jpeg
  densehybrid bag rendered drive --seed 7 --frames 100
  ros2 bag play drive"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.epilog = _EXAMPLE
    parser.add_argument("source", metavar="SOURCE", help="folder of pictures, video file, or `rendered`")
    parser.add_argument("output", metavar="OUTPUT", type=Path, help="directory of the bag")
    frames = parser.add_argument_group("frames")
    frames.add_argument("--fps", type=positive, help=f"frames a second (default {DEFAULT_FPS:g}; a video has its own)")
    frames.add_argument("--frames", type=count, metavar="N", help="take at most N frames (rendered: make N)")
    frames.add_argument("--size", type=size, metavar="WxH", help="bring the frames to this size")
    frames.add_argument("--seed", type=seed, default=1, help="rendered: same seed, same drive (default 1)")
    known = parser.add_argument_group("what is known about a folder's frames (a video's: the camera)")
    known.add_argument("--camera", type=Path, metavar="JSON", help="Cityscapes' layout, or a folder with one a frame")
    known.add_argument("--camera-size", type=size, metavar="WxH", help="that the camera JSON is for (the frames')")
    known.add_argument("--disparity", type=Path, metavar="DIR", help="16-bit pictures, (p - 1) / 256 px, 0 = invalid")
    known.add_argument("--labels", type=Path, metavar="DIR", help="anomaly labels: 0 inlier, 1 anomaly, 255 ignore")
    known.add_argument("--semantic", type=Path, metavar="DIR", help="semantic labels: train ids, 255 = none")
    bag = parser.add_argument_group("bag")
    bag.add_argument("--frame-id", default="camera", help="optical frame of the camera (default camera)")
    bag.add_argument("--base-frame", default="base_link", help="frame of the vehicle on the road (default base_link)")
    bag.add_argument("--topics", default="", metavar="KEY=TOPIC,...", help="other names, such as image=/left/image")
    bag.add_argument("--compressed", choices=COMPRESSIONS, nargs="?", const="jpeg", help="CompressedImage (jpeg)")
    bag.add_argument("--storage", choices=STORAGES, default="mcap", help="file format (default mcap)")
    bag.add_argument("--force", action="store_true", help="replace a bag that is there already")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Writes the bag."""
    path: Path = arguments.output
    writer = BagWriter(
        path,
        topics=parse_topics(arguments.topics),
        frame_id=arguments.frame_id,
        base_frame=arguments.base_frame,
        storage=arguments.storage,
        compression=arguments.compressed,
        overwrite=arguments.force,
    )
    source = _open_source(arguments)
    number, unlabelled, shape = 0, 0, (0, 0)
    with writer:
        for frame in progress(source, "writing the bag", len(source) or None):
            writer.write(frame)
            number, shape = number + 1, frame.size
            unlabelled += frame.labels is not None and bool(np.all(frame.labels == IGNORE))
    megabytes = sum(file.stat().st_size for file in path.iterdir()) / 1e6
    size = f"{shape[0]}x{shape[1]}"
    remark = f", {unlabelled} without a labelled pixel" if unlabelled else ""
    print(f"{path}: {number} frames of {size}{remark}, {megabytes:.1f} MB ({arguments.storage})")
    if arguments.json:
        about = {"bag": str(path), "frames": number, "size": size, "unlabelled": unlabelled}
        about |= {"megabytes": round(megabytes, 3), "storage": arguments.storage}
        arguments.json.write({"bags": [about]})
    return 0


def _open_source(arguments: argparse.Namespace) -> FrameSource:
    """Finds out what SOURCE is."""
    path = Path(arguments.source)
    if arguments.source == "rendered":
        _refuse(arguments, "the rendered road", ("camera", "camera_size", "disparity", "labels", "semantic"))
        fps, count = arguments.fps or DEFAULT_FPS, arguments.frames or 60
        return RenderedFrames(arguments.seed, count, arguments.size or (1024, 512), fps)
    known = {"camera": arguments.camera, "camera_size": arguments.camera_size}
    known |= {"limit": arguments.frames, "size": arguments.size}
    if not path.is_dir():
        _refuse(arguments, "a video", ("disparity", "labels", "semantic"))
        return VideoFrames(path, arguments.fps, **known)
    known |= {role: getattr(arguments, role) for role in ("disparity", "labels", "semantic")}
    return FolderFrames(path, arguments.fps or DEFAULT_FPS, **known)


def _refuse(arguments: argparse.Namespace, source: str, options: tuple[str, ...]) -> None:
    for option in options:
        if getattr(arguments, option) is not None:
            raise InputError(f"--{option.replace('_', '-')}: does not apply to {source}; leave it out")
