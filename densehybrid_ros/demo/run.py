# SPDX-License-Identifier: Apache-2.0
"""The demonstration from end to end: a drive is made, played to the node, recorded and shown on a page."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from densehybrid_ros import __version__
from densehybrid_ros.bags.frames import BagFrame, resize_frame
from densehybrid_ros.bags.reader import BagFrames, open_recording
from densehybrid_ros.bags.recording import Recording
from densehybrid_ros.bags.sources import DEFAULT_FPS, RenderedFrames
from densehybrid_ros.bags.topics import BagTopics
from densehybrid_ros.bags.writer import BagWriter
from densehybrid_ros.demo.answers import answered_frames, last_report, score_range
from densehybrid_ros.demo.drive import drive, running_node
from densehybrid_ros.demo.figures import DriveFigures
from densehybrid_ros.demo.node_process import NodeProcess
from densehybrid_ros.demo.page import DrivePage
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.replay import known_frames, with_base_frame
from densehybrid_ros.files import atomic_directory, write_text_atomically
from densehybrid_ros.networks.card import read_card
from densehybrid_ros.networks.weights import model_path
from densehybrid_ros.perception.settings import Settings
from densehybrid_ros.progress import progress

_DEFAULT_SIZE = (1024, 512)
_WIDEST = 1280  # pixels of real frames, unless a size is asked for
_MARKER = ".densehybrid_demo"
_TITLE = "DenseHybrid: a drive through the node"
_LISTING = {
    "drive/": "the bag that was played",
    "perception/": "what the node published",
    "summary.json": "the figures",
    "perception_node.log": "the node's log",
}


@dataclass(frozen=True)
class DemoOptions:
    """What to show: the options of ``densehybrid demo``, whose help says what they mean."""

    output: Path
    frames: Path | None = None
    count: int = 60
    size: tuple[int, int] | None = None
    fps: float | None = None
    seed: int = 1
    model: str = "light"
    backend: str = "auto"
    threshold: float | str | None = None
    rate: float | None = None


def run_demo(options: DemoOptions) -> DriveFigures:
    """Makes a drive, runs the node on it and leaves the result in ``options.output``, whole or not at all.

    Raises:
        InputError: The output must not be replaced, the frames or the model can't be read, or the node failed.
    """
    _check_output(options.output)
    card = read_card(model_path(options.model).with_suffix(".yaml"))
    threshold = card.threshold(options.threshold)
    source, total, size, name = _source(options)
    seconds: dict[str, float] = {}
    with atomic_directory(options.output) as folder:
        write_text_atomically(folder / _MARKER, f"densehybrid_ros {__version__}\n")
        bag, answers = folder / "drive", folder / "perception"
        with ExitStack() as stack:
            if sys.stderr.isatty():
                print(f"starting perception_node with {options.model}", file=sys.stderr)
            with _timed(seconds, "start"):
                log = folder / "perception_node.log"
                node = stack.enter_context(running_node(_parameters(options, size), BagTopics(), log))
            with _timed(seconds, "render" if options.frames is None else "read"):
                doing = "rendering the drive" if options.frames is None else "reading the frames"
                total = _write_bag(progress(source, doing, total), bag, node)
            recording = BagFrames(bag)
            settings = with_base_frame(recording, Settings())
            with _timed(seconds, "drive"):
                told = known_frames(recording, settings)
                sent, latencies = drive(node, recording, answers, options.rate, told, waits=options.rate is None)
        with _timed(seconds, "page"):
            figures, report = DriveFigures(sent=sent), last_report(answers)
            page = DrivePage(folder, card.classes, threshold, score_range(answers, threshold))
            frames = answered_frames(known_frames(recording, settings), answers)
            for answered in progress(frames, "writing the page", total):
                page.add(answered, latencies.get(answered.frame.stamp))
                figures.add(answered, card.num_classes)
            figures.finish(report, list(latencies.values()))
            drive_text = f"{name} · {total} frames of {size[0]}x{size[1]}"
            about = f"{drive_text} · {report.get('model', card.name)} · threshold {threshold:.2f} nats"
            page.finish(_TITLE, about, figures, _LISTING)
        figures.seconds = seconds
        write_text_atomically(folder / "summary.json", json.dumps(figures.to_dict(), indent=2) + "\n")
    return figures


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    seconds[stage] = time.monotonic() - began


def _parameters(options: DemoOptions, size: tuple[int, int]) -> dict[str, object]:
    """Parameters of the node; a compilation belongs to the start and not to the first frame."""
    parameters: dict[str, object] = {"model": options.model, "backend": options.backend, "warm_up_size": list(size)}
    if size[0] < size[1]:
        del parameters["warm_up_size"]
    if isinstance(options.threshold, str):
        parameters["threshold_name"] = "" if options.threshold == "default" else options.threshold
    elif options.threshold is not None:
        parameters["anomaly_threshold"] = options.threshold
    return parameters


def _source(options: DemoOptions) -> tuple[Iterable[BagFrame], int, tuple[int, int], str]:
    """Returns the frames, their number, width and height, and what to call them."""
    if options.frames is None:
        size = options.size or _DEFAULT_SIZE
        rendered = RenderedFrames(options.seed, options.count, size, options.fps or DEFAULT_FPS)
        return rendered, options.count, size, f"rendered road, seed {options.seed}"
    recording = open_recording(options.frames, fps=options.fps)
    first = next(iter(recording), None)
    if first is None:
        raise InputError(f"{options.frames}: holds no frames")
    height, width = first.image.shape[:2]
    narrow = min(width, _WIDEST)
    size = options.size or (narrow, max(1, round(height * narrow / width)))
    number = min(len(recording), options.count)
    return _real_frames(recording, number, size), number, size, f"real frames, {options.frames.absolute().name}"


def _real_frames(recording: Recording, count: int, size: tuple[int, int]) -> Iterator[BagFrame]:
    """Yields the first ``count`` frames of a folder, video or bag, brought to a size."""
    settings = with_base_frame(recording, Settings())
    for recorded, known in islice(known_frames(recording, settings), count):
        camera, disparity = known.placed_camera, known.disparity
        depths = disparity.pixels if disparity and camera else None
        truth = recorded.labels, recorded.semantic, recorded.instances
        frame = BagFrame(recorded.stamp, recorded.image, camera, depths, *truth, known.ego_speed)
        yield resize_frame(frame, *size)


def _write_bag(frames: Iterable[BagFrame], bag: Path, node: NodeProcess) -> int:
    """Writes the drive and returns its number of frames; gives up if the node dies meanwhile."""
    total = 0
    with BagWriter(bag) as writer:
        for frame in frames:
            node.check_alive()
            writer.write(frame)
            total += 1
    return total


def _check_output(output: Path) -> None:
    if not output.exists():
        return
    if not output.is_dir() or (any(output.iterdir()) and not (output / _MARKER).is_file()):
        raise InputError(f"{output}: exists and was not made by the demo; choose another --output")
