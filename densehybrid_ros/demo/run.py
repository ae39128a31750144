"""The demonstration from end to end: a drive is made, played to the node, recorded and shown on a page."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from densehybrid_ros import __version__
from densehybrid_ros.bags.image_files import list_pictures
from densehybrid_ros.bags.sources import FolderFrames, FrameSource, RenderedFrames
from densehybrid_ros.bags.writer import BagWriter
from densehybrid_ros.datasets.pictures import read_color
from densehybrid_ros.datasets.rendered_road import standard_camera
from densehybrid_ros.demo.answers import AnsweredFrame, answered_frames, last_report, score_range
from densehybrid_ros.demo.drive import Drive, check_alive, drive, running_node
from densehybrid_ros.demo.figures import DriveFigures, TruthFigures
from densehybrid_ros.demo.node_process import NodeProcess
from densehybrid_ros.demo.page import DrivePage
from densehybrid_ros.errors import InputError
from densehybrid_ros.files import atomic_directory, write_text_atomically
from densehybrid_ros.networks.card import ModelCard, read_card
from densehybrid_ros.networks.weights import model_path
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
        frames: Folder of real frames; None for the rendered road.
        count: Number of frames at most.
        size: (width, height); None for 1024x512, or the real frames' size up to a width of 1280.
        fps: Frames a second of the drive.
        seed: Of the rendered road.
        model: A shipped model's name or a ``.safetensors`` file.
        backend: How the network is run.
        threshold: Anomaly threshold in nats; None for the model card's.
        rate: Speed of playing, at which the node may drop frames; None to wait for every answer.
    """

    output: Path
    frames: Path | None = None
    count: int = DEFAULT_COUNT
    size: tuple[int, int] | None = None
    fps: float = 10.0
    seed: int = 1
    model: str = "light"
    backend: str = "auto"
    threshold: float | None = None
    rate: float | None = None


def run_demo(options: DemoOptions) -> DriveFigures:
    """Makes a drive, runs the node on it and leaves the result in ``options.output``, whole or not at all.

    Raises:
        InputError: The output must not be replaced, the frames or the model can't be read, or the node failed.
    """
    _check_output(options.output)
    card = read_card(model_path(options.model).with_suffix(".yaml"))
    size = options.size or (DEFAULT_SIZE if options.frames is None else working_size(options.frames))
    source, name = _source(options, size)
    clock = _StageClock()
    with atomic_directory(options.output) as folder:
        folder.mkdir()
        (folder / _MARKER).write_text(f"densehybrid_ros {__version__}\n", encoding="utf-8")
        bag, recording = folder / "drive", folder / "perception"
        with ExitStack() as stack:
            if sys.stderr.isatty():
                print(f"starting perception_node with {options.model}", file=sys.stderr)
            with clock.stage("start"):
                log = folder / "perception_node.log"
                camera = standard_camera(*size) if options.frames is None else None
                start = running_node(
                    options.model, options.backend, options.threshold, log, (size[1], size[0]), camera=camera
                )
                node = stack.enter_context(start)
            with clock.stage("render" if options.frames is None else "read"):
                total = _write_bag(source, bag, node)
            with clock.stage("drive"):
                driven = drive(node, bag, recording, total, options.rate)
        with clock.stage("page"):
            result = _Result(bag, recording, driven, card, options.threshold)
            drive_text = f"{name} · {total} frames of {size[0]}x{size[1]} at {options.fps:g} Hz"
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

    def __init__(self, bag: Path, recording: Path, driven: Drive, card: ModelCard, threshold: float | None) -> None:
        self._bag, self._recording, self._card = bag, recording, card
        self._threshold = card.threshold() if threshold is None else threshold
        self._latencies = driven.latencies_ms()
        self._report = last_report(recording)
        self._figures = DriveFigures(sent=len(driven.sent))

    def write_page(self, folder: Path, total: int, drive_text: str) -> DriveFigures:
        """Writes pictures and page and returns the figures."""
        scores = score_range(self._recording, self._threshold)
        page = DrivePage(folder, self._card.classes, self._threshold, scores)
        for answered in progress(answered_frames(self._bag, self._recording), "writing the page", total):
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
            figures.alerts += answered.alert.raised
            figures.largest_region = max(figures.largest_region, answered.alert.largest_area)
        if answered.open_set is not None and frame.labels is not None and frame.instances is not None:
            figures.truth = figures.truth or TruthFigures()
            figures.truth.add(frame, answered.open_set == self._card.num_classes)

    def _take_report(self) -> None:
        """Takes the node's own counts; without them, what came back."""
        for name in ("processed", "dropped", "rejected", "failed"):
            setattr(self._figures, name, int(self._report.get(name, 0)))
        if not self._report:
            self._figures.processed = self._figures.answered


def _source(options: DemoOptions, size: tuple[int, int]) -> tuple[FrameSource, str]:
    """Returns the frames and what to call them."""
    if options.frames is None:
        return RenderedFrames(options.seed, options.count, size, options.fps), f"rendered road, seed {options.seed}"
    source = FolderFrames(options.frames, options.fps, limit=options.count, size=size)
    return source, f"real frames, {options.frames.absolute().name}"


def working_size(folder: Path) -> tuple[int, int]:
    """Returns the (width, height) of a folder's frames, scaled down to a width of 1280 at most.

    Raises:
        InputError: The folder is missing or empty, or its first picture can't be read.
    """
    height, width = read_color(list_pictures(folder)[0]).shape[:2]
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
