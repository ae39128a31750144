# SPDX-License-Identifier: Apache-2.0
"""The demonstration from end to end: a drive is made, played to the node, recorded and shown on a page."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from densehybrid_ros import __version__
from densehybrid_ros.bags.frames import BagFrame, resize_frame
from densehybrid_ros.bags.reader import BagFrames, open_recording
from densehybrid_ros.bags.recording import Recording
from densehybrid_ros.bags.sources import DEFAULT_FPS, FrameSource, RenderedFrames
from densehybrid_ros.bags.topics import BagTopics
from densehybrid_ros.bags.writer import BagWriter
from densehybrid_ros.demo.answers import AnsweredFrame, answered_frames, last_report, score_range
from densehybrid_ros.demo.drive import Drive, check_alive, drive, running_node
from densehybrid_ros.demo.figures import DriveFigures, TruthFigures
from densehybrid_ros.demo.node_process import NodeProcess
from densehybrid_ros.demo.page import DrivePage
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.replay import known_frames, with_base_frame
from densehybrid_ros.files import atomic_directory, write_text_atomically
from densehybrid_ros.hazards.hazard import Level
from densehybrid_ros.networks.card import ModelCard, read_card
from densehybrid_ros.networks.weights import model_path
from densehybrid_ros.perception.settings import Settings
from densehybrid_ros.progress import progress

DEFAULT_COUNT = 60
DEFAULT_SIZE = (1024, 512)
MAX_WORKING_WIDTH = 1280
"""Real frames that are wider are scaled down to this many pixels, unless a size is asked for."""

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
    """What to show.

    Attributes:
        output: Directory of the result; one that the demonstration made before is replaced.
        frames: Folder of real frames, video or bag; None for the rendered road.
        count: Number of frames at most.
        size: (width, height); None for 1024x512, or the real frames' size up to a width of 1280.
        fps: Frames a second of the drive; None: 10, a video's and a bag's own.
        seed: Of the rendered road.
        model: A shipped model's name or a ``.safetensors`` file.
        backend: How the network is run.
        threshold: Anomaly threshold in nats, or its name in the model card; None for the card's default.
        rate: Speed of playing, at which the node may drop frames; None to wait for every answer.
    """

    output: Path
    frames: Path | None = None
    count: int = DEFAULT_COUNT
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
    source, size, name = _source(options)
    clock = _StageClock()
    with atomic_directory(options.output) as folder:
        write_text_atomically(folder / _MARKER, f"densehybrid_ros {__version__}\n")
        bag, answers = folder / "drive", folder / "perception"
        with ExitStack() as stack:
            if sys.stderr.isatty():
                print(f"starting perception_node with {options.model}", file=sys.stderr)
            with clock.stage("start"):
                log = folder / "perception_node.log"
                node = stack.enter_context(running_node(_parameters(options, size), BagTopics(), log))
            with clock.stage("render" if options.frames is None else "read"):
                total = _write_bag(source, bag, node)
            recording = BagFrames(bag)
            settings = with_base_frame(recording, Settings())
            with clock.stage("drive"):
                mounts = ((recorded, known.mount) for recorded, known in known_frames(recording, settings))
                driven = drive(node, recording, answers, options.rate, mounts, waits=options.rate is None)
        with clock.stage("page"):
            result = _Result(recording, settings, answers, driven, card, options.threshold)
            drive_text = f"{name} · {total} frames of {size[0]}x{size[1]}"
            figures = result.write_page(folder, total, drive_text)
        figures.seconds = clock.seconds
        write_text_atomically(folder / "summary.json", json.dumps(figures.to_dict(), indent=2) + "\n")
    return figures


class _StageClock:
    """Measures the stages of the demonstration."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - began


class _Result:
    """Turns the two bags of a drive into the page and the figures."""

    def __init__(
        self,
        recording: Recording,
        settings: Settings,
        answers: Path,
        driven: Drive,
        card: ModelCard,
        threshold: float | str | None,
    ) -> None:
        self._recording, self._settings, self._answers, self._card = recording, settings, answers, card
        self._threshold = card.threshold(threshold)
        self._latencies = driven.latencies_ms()
        self._report = last_report(answers)
        self._figures = DriveFigures(sent=len(driven.sent))

    def write_page(self, folder: Path, total: int, drive_text: str) -> DriveFigures:
        """Writes pictures and page and returns the figures."""
        scores = score_range(self._answers, self._threshold)
        page = DrivePage(folder, self._card.classes, self._threshold, scores)
        frames = answered_frames(known_frames(self._recording, self._settings), self._answers)
        for answered in progress(frames, "writing the page", total):
            page.add(answered, self._latencies.get(answered.frame.stamp))
            self._count(answered)
        self._take_report()
        self._figures.set_latencies(list(self._latencies.values()))
        model = self._report.get("model", self._card.name)
        about = f"{drive_text} · {model} · threshold {self._threshold:.2f} nats"
        page.finish(_TITLE, about, self._figures, _LISTING)
        return self._figures

    def _count(self, answered: AnsweredFrame) -> None:
        figures, frame = self._figures, answered.frame
        if answered.alert is not None:
            figures.answered += 1
            figures.alerts += answered.alert.level > Level.OK
            area = int(answered.alert.summary.values.get("largest_area_px", 0))
            figures.largest_region = max(figures.largest_region, area)
        if answered.open_set is not None and frame.labels is not None and frame.instances is not None:
            figures.truth = figures.truth or TruthFigures()
            figures.truth.add(frame, answered.known, answered.open_set == self._card.num_classes)

    def _take_report(self) -> None:
        """Takes the node's own counts; without them, what came back."""
        for name in ("processed", "dropped", "rejected", "failed"):
            setattr(self._figures, name, int(self._report.get(name, 0)))
        if not self._report:
            self._figures.processed = self._figures.answered


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


def _source(options: DemoOptions) -> tuple[FrameSource, tuple[int, int], str]:
    """Returns the frames, their width and height, and what to call them."""
    if options.frames is None:
        size = options.size or DEFAULT_SIZE
        rendered = RenderedFrames(options.seed, options.count, size, options.fps or DEFAULT_FPS)
        return rendered, size, f"rendered road, seed {options.seed}"
    recording = open_recording(options.frames, fps=options.fps)
    first = next(iter(recording), None)
    if first is None:
        raise InputError(f"{options.frames}: holds no frames")
    height, width = first.image.shape[:2]
    size = options.size or working_size(width, height)
    return RealFrames(recording, options.count, size), size, f"real frames, {options.frames.absolute().name}"


class RealFrames:
    """The frames of a folder, video or bag, brought to a size. A FrameSource."""

    def __init__(self, recording: Recording, count: int, size: tuple[int, int]) -> None:
        """Notes what to read; at most ``count`` frames, of (width, height) ``size``."""
        self._recording, self._count, self._size = recording, count, size

    def __len__(self) -> int:
        """Number of frames."""
        return min(len(self._recording), self._count)

    def __iter__(self) -> Iterator[BagFrame]:
        """Reads the frames one by one."""
        settings = with_base_frame(self._recording, Settings())
        for recorded, known in islice(known_frames(self._recording, settings), self._count):
            frame = BagFrame(
                stamp=recorded.stamp,
                image=recorded.image,
                camera=known.placed_camera,
                disparity=known.disparity.pixels if known.disparity and known.placed_camera else None,
                labels=recorded.labels,
                semantic=recorded.semantic,
                instances=recorded.instances,
                speed=known.ego_speed,
            )
            yield resize_frame(frame, *self._size)


def working_size(width: int, height: int) -> tuple[int, int]:
    """Returns (width, height), scaled down to a width of 1280 at most."""
    if width <= MAX_WORKING_WIDTH:
        return width, height
    return MAX_WORKING_WIDTH, max(1, round(height * MAX_WORKING_WIDTH / width))


def _write_bag(source: FrameSource, bag: Path, node: NodeProcess) -> int:
    """Writes the drive and returns its number of frames; gives up if the node dies meanwhile."""
    name = "rendering the drive" if isinstance(source, RenderedFrames) else "reading the frames"
    total = 0
    with BagWriter(bag) as writer:
        for frame in progress(source, name):
            check_alive(node)
            writer.write(frame)
            total += 1
    return total


def _check_output(output: Path) -> None:
    if not output.exists():
        return
    if not output.is_dir() or (any(output.iterdir()) and not (output / _MARKER).is_file()):
        raise InputError(f"{output}: exists and was not made by the demo; choose another --output")
