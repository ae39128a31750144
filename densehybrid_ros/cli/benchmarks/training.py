"""Images a second of training, with and without data loading, and how long the GPU waits for data.

Frames, labels and cut-outs are made up (JPEG and PNG files, or held in memory), so that the figures are about this
machine and not about a data set; the network, the loss and the way of a batch are those of ``densehybrid train``. Under
torchrun the first process is measured alone too, and the ratio is the scaling.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from densehybrid_ros.cli.options import count, size
from densehybrid_ros.datasets.evaluation_set import FrameFiles
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES
from densehybrid_ros.datasets.training_frames import FrameStore
from densehybrid_ros.datasets.training_set import TrainingSet
from densehybrid_ros.errors import InputError
from densehybrid_ros.inference.backends import choose_device
from densehybrid_ros.networks import ARCHITECTURES, DenseHybrid, build_network
from densehybrid_ros.networks.dense_flow import FLOWS, DenseFlow
from densehybrid_ros.training.batches import BatchMaker, Job, Sample, Source, stream
from densehybrid_ros.training.config import TrainConfig
from densehybrid_ros.training.config_file import build_config
from densehybrid_ros.training.distributed import Processes, join
from densehybrid_ros.training.flow_task import FlowTask
from densehybrid_ros.training.mixed_content import MixedBatch, cutout_layers
from densehybrid_ros.training.segmentation_task import SegmentationTask
from densehybrid_ros.training.synthetic_negatives import FlowPartner

SUMMARY = "images a second of training, and how long the GPU waits for data"
_FRAMES, _CUTOUTS = 16, 8


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.epilog = (
        "example:\n  densehybrid benchmark training --architecture ldn121 --crop 768x768 --batch 16\n"
        "  torchrun --nproc-per-node 2 -m densehybrid_ros benchmark training --batch 32"
    )
    parser.add_argument("--architecture", default="ldn121", help=f"{', '.join([*ARCHITECTURES, *FLOWS])} (ldn121)")
    parser.add_argument("--crop", type=size, default=(768, 768), metavar="WxH", help="of a crop (768x768)")
    parser.add_argument("--batch", type=count, default=16, help="crops a step, over all processes (16)")
    parser.add_argument("--frames", choices=("files", "memory"), default="files", help="where frames lie (files)")
    parser.add_argument("--frame", type=size, default=(2048, 1024), metavar="WxH", help="size of a frame (2048x1024)")
    parser.add_argument("--steps", type=count, default=40, help="measured steps (40)")
    parser.add_argument("--warm-up", type=count, default=10, help="steps before them (10)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="entries of a run's YAML: stage=open_set, data.workers=12, cuda_graph=true, ...",
    )


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Measures; under torchrun all processes take part and the first one's text counts.

    Raises:
        InputError: A setting is wrong.
    """
    config = _config(args)
    processes, device = join(choose_device(args.device))
    torch.manual_seed(config.seed)
    try:
        with tempfile.TemporaryDirectory(prefix="densehybrid_") as folder:
            frames = _frame_files(Path(folder), args.frame)
            source: Source = frames if args.frames == "files" else _in_memory(frames, device)
            figures = _measure(config, source, device, processes, args)
            if args.frames == "files":
                figures["decoded_frames_per_second"] = _decoding(frames, max(1, config.data.workers))
    finally:
        processes.close()
    return figures, _summary(figures) if processes.is_first else ""


def _config(args: argparse.Namespace) -> TrainConfig:
    content: dict[str, Any] = {"name": "benchmark", "architecture": args.architecture, "batch_size": args.batch}
    content["crops"] = {"width": args.crop[0], "height": args.crop[1]}
    if args.architecture in FLOWS:
        content["stage"] = "flow"
    elif args.architecture not in ARCHITECTURES:
        raise InputError(f"--architecture {args.architecture}: choose one of {', '.join([*ARCHITECTURES, *FLOWS])}")
    return build_config(content, args.overrides)


def _measure(
    config: TrainConfig, source: Source, device: torch.device, processes: Processes, args: argparse.Namespace
) -> dict[str, Any]:
    share = processes.share(config.batch_size, config.accumulate)
    maker = _TimedMaker(config, source, device)
    total = args.warm_up + args.steps
    jobs = [
        Job(step, (processes.rank * config.accumulate + part) * share, share)
        for step in range(total)
        for part in range(config.accumulate)
    ]
    loaded = _Clock(device, args, share)
    batches = stream(maker, jobs, config.data.workers, config.data.prefetch)
    loaded.steps(_task(config, device, processes), batches, config.accumulate, maker)
    kept = [maker.batch(job) for job in jobs[: config.accumulate]]
    bare = _Clock(device, args, share)
    bare.steps(_task(config, device, processes), _again(kept, total), config.accumulate, None)
    data = _Clock(device, args, share)
    data.drain(stream(maker, jobs, config.data.workers, config.data.prefetch), config.accumulate)
    figures: dict[str, Any] = {
        "architecture": config.architecture,
        "stage": config.stage,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "processes": processes.count,
        "batch": config.batch_size,
        "crop": [config.crops.width, config.crops.height],
        "workers": config.data.workers,
        "images_per_second": round(config.batch_size * args.steps / loaded.seconds, 2),
        "images_per_second_without_loading": round(config.batch_size * args.steps / bare.seconds, 2),
        "crops_per_second_of_the_loader": round(config.batch_size * args.steps / data.seconds, 2),
        "share_waiting_for_data": round(loaded.waiting / loaded.seconds, 4),
        "share_computing_crops": round(loaded.cropping / loaded.seconds, 4),
    }
    if device.type == "cuda":
        figures["gpu_gib"] = round(torch.cuda.max_memory_allocated(device) / 2**30, 2)
    if processes.count > 1:
        figures["scaling"] = _scaling(config, source, device, processes, args, figures["images_per_second"])
    return figures


def _scaling(
    config: TrainConfig,
    source: Source,
    device: torch.device,
    processes: Processes,
    args: argparse.Namespace,
    together: float,
) -> float:
    """How many times the rate of one process, with its share of the batch and the others idle, all of them reach."""
    rate = torch.zeros(1)
    if processes.is_first:
        share = processes.share(config.batch_size, config.accumulate)
        jobs = [Job(step, 0, share) for step in range((args.warm_up + args.steps) * config.accumulate)]
        clock = _Clock(device, args, share)
        maker = _TimedMaker(config, source, device)
        batches = stream(maker, jobs, config.data.workers, config.data.prefetch)
        clock.steps(_task(config, device, Processes()), batches, config.accumulate, maker)
        rate += share * config.accumulate * args.steps / clock.seconds
    processes.wait()
    return round(together / float(processes.sum(rate)), 3)


class _TimedMaker(BatchMaker):
    """Notes when the device could begin with the crops of a batch."""

    def __init__(self, config: TrainConfig, source: Source, device: torch.device) -> None:
        rng = np.random.default_rng(0)
        cutouts = [torch.from_numpy(rng.integers(0, 256, (4, 200, 160), np.uint8)) for _ in range(_CUTOUTS)]
        pasted = config.stage == "open_set" and config.negatives.source == "cutouts"
        layers = cutout_layers(lambda _, rng: cutouts[int(rng.integers(_CUTOUTS))], config.negatives)
        is_void = config.stage == "open_set" and config.negatives.source == "void"
        super().__init__(config.seed, config.crops, [(source, 1.0)], device, layers if pasted else None, is_void)
        self.begun: Any = None

    def finish(self, samples: Sequence[Sample]) -> MixedBatch:
        """Does what the other does."""
        self.begun = _mark(self.device)
        return super().finish(samples)


class _Clock:
    """Seconds of the measured steps: all of them, those without data to work on, and those that computed crops."""

    def __init__(self, device: torch.device, args: argparse.Namespace, crops: int) -> None:
        self.device = device
        self.shape = (crops, 3, args.crop[1], args.crop[0])
        self.warm_up, self.count = args.warm_up, args.steps
        self.seconds = self.waiting = self.cropping = 0.0

    def steps(self, task: Any, batches: Iterator[MixedBatch], parts: int, maker: _TimedMaker | None) -> None:
        """Measures training steps."""
        task.prepare(self.shape)
        marks = []
        for step in range(self.warm_up + self.count):
            if step == self.warm_up:
                _wait(self.device)
                started, before = time.perf_counter(), _mark(self.device)
            taken = [next(batches) for _ in range(parts)]
            if step >= self.warm_up:
                ready = _mark(self.device)
                marks.append((before, maker.begun if maker else ready, ready))
            task.update(step, taken)
            before = _mark(self.device)
        _wait(self.device)
        self.seconds = time.perf_counter() - started
        self.waiting = sum(_between(first, begun) for first, begun, _ in marks)
        self.cropping = sum(_between(begun, ready) for _, begun, ready in marks)

    def drain(self, batches: Iterator[MixedBatch], parts: int) -> None:
        """Measures the loader alone."""
        for number, _ in enumerate(batches):
            if number == self.warm_up * parts - 1:
                _wait(self.device)
                started = time.perf_counter()
        _wait(self.device)
        self.seconds = time.perf_counter() - started


def _mark(device: torch.device) -> Any:
    """A moment in the device's own time: on a GPU, when all that was launched before is done."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _between(first: Any, second: Any) -> float:
    return second - first if isinstance(first, float) else first.elapsed_time(second) / 1000


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _again(batches: Sequence[MixedBatch], steps: int) -> Iterator[MixedBatch]:
    for _ in range(steps):
        yield from batches


def _task(config: TrainConfig, device: torch.device, processes: Processes) -> Any:
    if config.stage == "flow":
        return FlowTask(config, DenseFlow(FLOWS[config.architecture]), device, processes)
    partner = None
    if config.joint:
        flow = DenseFlow(FLOWS[config.flow.weights or "dense_flow_45_6"])  # a name here, not a file
        partner = FlowPartner(flow, config.flow, config.seed, device, processes)
    model = DenseHybrid(build_network(config.architecture, len(CITYSCAPES_CLASSES)))
    return SegmentationTask(config, model, device, processes, partner)


def _frame_files(folder: Path, frame: tuple[int, int]) -> TrainingSet:
    """Writes JPEG frames with some detail and PNG labels."""
    rng = np.random.default_rng(0)
    files = []
    for number in range(_FRAMES):
        coarse = rng.integers(0, 256, (frame[1] // 16 + 1, frame[0] // 16 + 1, 3), np.uint8)
        image = cv2.resize(coarse, frame, interpolation=cv2.INTER_CUBIC).astype(np.float32)
        image = (image + rng.normal(0, 6, image.shape)).clip(0, 255).astype(np.uint8)
        blocks = rng.integers(0, len(CITYSCAPES_CLASSES), (frame[1] // 32 + 1, frame[0] // 32 + 1), np.uint8)
        label = cv2.resize(blocks, frame, interpolation=cv2.INTER_NEAREST)
        pair = FrameFiles(folder / f"{number}.jpg", folder / f"{number}.png")
        cv2.imwrite(str(pair.image), image)
        cv2.imwrite(str(pair.label), label)
        files.append(pair)
    return TrainingSet("made up", files, CITYSCAPES_CLASSES, _read_label)


def _read_label(files: FrameFiles) -> np.ndarray:
    label = cv2.imread(str(files.label), cv2.IMREAD_GRAYSCALE)
    assert label is not None
    return label


def _in_memory(frames: TrainingSet, device: torch.device) -> FrameStore:
    pairs = [frames[index] for index in range(len(frames))]
    images = torch.stack([torch.from_numpy(pair.image.transpose(2, 0, 1).copy()) for pair in pairs])
    return FrameStore(images, torch.stack([torch.from_numpy(pair.label) for pair in pairs])).to(device)


def _decoding(frames: TrainingSet, workers: int) -> float:
    """Frames a second that the given number of threads read and decode, labels included."""
    from concurrent.futures import ThreadPoolExecutor

    cv2.setNumThreads(1)
    with ThreadPoolExecutor(workers) as pool:
        started = time.perf_counter()
        for _ in range(2):
            list(pool.map(frames.__getitem__, range(len(frames))))
    return round(2 * len(frames) / (time.perf_counter() - started), 1)


def _summary(figures: dict[str, Any]) -> str:
    width, height = figures["crop"]
    lines = [
        f"{figures['architecture']}, {figures['stage']}, {figures['batch']} crops of {width}x{height}, "
        f"{figures['processes']} x {figures['device']}, {figures['workers']} threads a process",
        "",
        f"training with data loading      {figures['images_per_second']:>9.1f} images/s",
        f"training on one batch           {figures['images_per_second_without_loading']:>9.1f} images/s",
        f"data loading alone              {figures['crops_per_second_of_the_loader']:>9.1f} crops/s",
    ]
    if "decoded_frames_per_second" in figures:
        lines.append(f"reading and decoding alone      {figures['decoded_frames_per_second']:>9.1f} frames/s")
    lines += [
        f"the device waits for data       {100 * figures['share_waiting_for_data']:>9.1f} % of the time",
        f"and computes crops              {100 * figures['share_computing_crops']:>9.1f} %",
    ]
    if "gpu_gib" in figures:
        lines.append(f"memory of the GPU               {figures['gpu_gib']:>9.1f} GiB")
    if "scaling" in figures:
        lines.append(f"times the rate of one process   {figures['scaling']:>9.2f}")
    return "\n".join(lines)
