# SPDX-License-Identifier: Apache-2.0
"""Images a second of training, with and without data loading, and how long the GPU waits for data.

Frames, labels and cut-outs are made up (JPEG and PNG files, then the same ones held in memory), so that the figures are
about this machine and not about a data set; the network, the loss and the way of a batch are those of ``densehybrid
train``. Rates are medians over rounds. Under torchrun the first process is measured alone too, and the ratio is the
scaling.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from densehybrid_ros import research
from densehybrid_ros.cli.options import count, size
from densehybrid_ros.datasets.evaluation_set import FrameFiles
from densehybrid_ros.datasets.labelled_set import TRAIN_IDS, LabelledSet
from densehybrid_ros.datasets.pictures import write_picture
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES
from densehybrid_ros.datasets.training_frames import FrameStore
from densehybrid_ros.errors import InputError
from densehybrid_ros.inference.backends import choose_device, device_name
from densehybrid_ros.networks import DenseHybrid, architecture_names, build_network
from densehybrid_ros.networks.dense_flow import FLOWS, DenseFlow
from densehybrid_ros.progress import progress
from densehybrid_ros.training.batches import BatchMaker, BatchSource, CropTask, Source, plain_crops, stream
from densehybrid_ros.training.config import TrainConfig, build_config
from densehybrid_ros.training.distributed import Processes, join
from densehybrid_ros.training.flow_task import FlowTask
from densehybrid_ros.training.mixed_content import MixedBatch
from densehybrid_ros.training.pasting import cutout_overlays
from densehybrid_ros.training.segmentation_task import SegmentationTask
from densehybrid_ros.training.synthetic_negatives import FlowPartner, largest_patch
from running import run_benchmark, wait_for

_FRAMES, _CUTOUTS = 8, 8
_PLAIN = {"scale": [1.0, 1.0], "color_jitter": 0.0, "blur_probability": 0.0, "noise": 0.0}  # what flows learn from


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.epilog = (
        "example:\n  python tools/benchmarks/training.py cuda_graph=true --json training.json\n"
        "  python tools/benchmarks/training.py --architecture dense_flow_25_6 --crop 64x64 --batch 64 cuda_graph=true\n"
        "  torchrun --nproc-per-node 2 tools/benchmarks/training.py --batch 32 cuda_graph=true"
    )
    research.register()
    names = ", ".join([*architecture_names(), *FLOWS])
    parser.add_argument("--architecture", default="ldn121", help=f"{names} (ldn121)")
    parser.add_argument("--crop", type=size, default=(768, 768), metavar="WxH", help="of a crop (768x768)")
    parser.add_argument("--batch", type=count, default=16, help="crops a step, over all processes (16)")
    parser.add_argument(
        "--frames", choices=("files", "memory", "both"), default="both", help="where frames lie (both, in turn)"
    )
    parser.add_argument("--frame", type=size, default=(2048, 1024), metavar="WxH", help="size of a frame (2048x1024)")
    parser.add_argument("--steps", type=count, default=20, help="measured steps a round (20)")
    parser.add_argument("--rounds", type=count, default=3, help="rounds, of which the median counts (3)")
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
            figures = _figures(config, _frame_files(Path(folder), args.frame), device, processes, args)
    finally:
        processes.close()
    return figures, _summary(figures) if processes.is_first else ""


def _config(args: argparse.Namespace) -> TrainConfig:
    content: dict[str, Any] = {"name": "benchmark", "architecture": args.architecture, "batch_size": args.batch}
    content["crops"] = {"width": args.crop[0], "height": args.crop[1]}
    if args.architecture in FLOWS:
        content["stage"] = "flow"
        content["crops"] |= _PLAIN
    elif args.architecture not in architecture_names():
        names = ", ".join([*architecture_names(), *FLOWS])
        raise InputError(f"--architecture {args.architecture}: choose one of {names}")
    return build_config(content, args.overrides)


def _figures(
    config: TrainConfig, frames: LabelledSet, device: torch.device, processes: Processes, args: argparse.Namespace
) -> dict[str, Any]:
    share = processes.share(config.batch_size)
    task = _task(config, device, processes)
    task.prepare((share, 3, config.crops.height, config.crops.width))
    figures: dict[str, Any] = {
        "architecture": config.architecture,
        "stage": config.stage,
        "device": device_name(device),
        "torch": str(torch.__version__),
        "cuda_graph": config.cuda_graph,
        "processes": processes.count,
        "batch": config.batch_size,
        "crop": [config.crops.width, config.crops.height],
        "frame": list(args.frame),
        "workers": config.data.workers,
    }
    kinds = ("files", "memory") if args.frames == "both" else (args.frames,)
    for kind in kinds:
        maker = _maker(config, frames if kind == "files" else _in_memory(frames, device), device)
        if kind == kinds[0]:
            kept = [maker.batch(task) for task in _tasks(config, processes, 1)]
            timing = _time("one batch", _again(kept, _total(args)), device, args, task.update)
            figures["images_per_second_without_loading"] = _rate(config.batch_size, timing, args)
        batches = (_stream(config, maker, processes, args) for _ in range(2))
        timing = _time(f"frames in {kind}", next(batches), device, args, task.update)
        loader = _time(f"loading from {kind}", next(batches), device, args, None)
        figures[kind] = {
            "images_per_second": _rate(config.batch_size, timing, args),
            "share_waiting_for_data": round(timing.waiting / sum(timing.rounds), 4),
            "crops_per_second_of_the_loader": _rate(config.batch_size, loader, args),
        }
        if kind == "files":
            figures[kind]["decoded_frames_per_second"] = _decoding(frames, max(1, config.data.workers))
    if device.type == "cuda":
        figures["gpu_gib"] = round(torch.cuda.max_memory_allocated(device) / 2**30, 2)
    if processes.count > 1:
        del task
        gc.collect()
        together = figures[kinds[0]]["images_per_second"]
        source: Source = frames if kinds[0] == "files" else _in_memory(frames, device)
        figures["scaling"] = round(together / _alone(config, source, device, processes, args), 3)
    return figures


def _alone(
    config: TrainConfig, source: Source, device: torch.device, processes: Processes, args: argparse.Namespace
) -> float:
    """Images a second of the first process with its share of the batch while the others are idle."""
    rate = torch.zeros(1)
    if processes.is_first:
        share = processes.share(config.batch_size)
        task = _task(config, device, Processes())
        task.prepare((share, 3, config.crops.height, config.crops.width))
        tasks = (CropTask(step, 0, share) for step in range(_total(args)))
        batches = stream(_maker(config, source, device), tasks, config.data.workers)
        timing = _time("one process", batches, device, args, task.update)
        rate += _rate(share, timing, args)
    processes.wait()
    return float(processes.sum(rate))


class _Timing(NamedTuple):
    """Seconds of each round, and those of all rounds in which the device had no data to work on."""

    rounds: list[float]
    waiting: float


def _time(
    what: str,
    batches: Iterator[MixedBatch],
    device: torch.device,
    args: argparse.Namespace,
    update: Callable[[int, MixedBatch], Any] | None,
) -> _Timing:
    """Measures training steps, or without ``update`` the loader alone."""
    marks, ends = [], []
    for step in progress(range(_total(args)), what, unit="step"):
        if step >= args.warm_up and (step - args.warm_up) % args.steps == 0:
            wait_for(device)
            ends.append(time.perf_counter())
        before = _mark(device)
        taken = next(batches)
        if step >= args.warm_up:
            marks.append((before, _mark(device)))
        if update is not None:
            update(step, taken)
    wait_for(device)
    ends.append(time.perf_counter())
    rounds = [second - first for first, second in itertools.pairwise(ends)]
    return _Timing(rounds, sum(_between(first, second) for first, second in marks))


def _rate(batch: int, timing: _Timing, args: argparse.Namespace) -> float:
    return round(batch * args.steps / statistics.median(timing.rounds), 2)


def _total(args: argparse.Namespace) -> int:
    return args.warm_up + args.rounds * args.steps


def _tasks(config: TrainConfig, processes: Processes, steps: int) -> list[CropTask]:
    share = processes.share(config.batch_size)
    return [CropTask(step, processes.rank * share, share) for step in range(steps)]


def _stream(
    config: TrainConfig, maker: BatchSource, processes: Processes, args: argparse.Namespace
) -> Iterator[MixedBatch]:
    return stream(maker, _tasks(config, processes, _total(args)), config.data.workers)


def _maker(config: TrainConfig, source: Source, device: torch.device) -> BatchSource:
    sources = [(source, 1.0)]
    if config.stage == "flow":
        return plain_crops(config, sources, device) or BatchMaker(config.seed, config.crops, sources, device)
    rng = np.random.default_rng(0)
    cutouts = [torch.from_numpy(rng.integers(0, 256, (4, 200, 160), np.uint8)) for _ in range(_CUTOUTS)]
    pasted = config.stage == "open_set" and config.negatives.source == "cutouts"
    overlays = cutout_overlays(lambda _, rng: cutouts[int(rng.integers(_CUTOUTS))], config.negatives)
    is_void = config.stage == "open_set" and config.negatives.source == "void"
    return BatchMaker(config.seed, config.crops, sources, device, overlays if pasted else None, is_void)


def _mark(device: torch.device) -> Any:
    """A moment in the device's own time: on a GPU, when all that was launched before is done."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _between(first: Any, second: Any) -> float:
    return second - first if isinstance(first, float) else first.elapsed_time(second) / 1000


def _again(batches: Sequence[MixedBatch], steps: int) -> Iterator[MixedBatch]:
    for _ in range(steps):
        yield from batches


def _task(config: TrainConfig, device: torch.device, processes: Processes) -> Any:
    if config.stage == "flow":
        return FlowTask(config, DenseFlow(FLOWS[config.architecture]), device, processes)
    partner = None
    if config.joint:
        flow = DenseFlow(FLOWS[config.negatives.root or "dense_flow_45_6"])  # a name here, not a file
        largest = largest_patch(config.crops.height, config.crops.width)
        partner = FlowPartner(flow, config.seed, device, processes, largest)
    model = DenseHybrid(build_network(config.architecture, len(CITYSCAPES_CLASSES)))
    return SegmentationTask(config, model, device, processes, partner)


def _frame_files(folder: Path, frame: tuple[int, int]) -> LabelledSet:
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
        write_picture(pair.image, image)
        write_picture(pair.label, label)
        files.append(pair)
    return LabelledSet("made up", files, CITYSCAPES_CLASSES, TRAIN_IDS)


def _in_memory(frames: LabelledSet, device: torch.device) -> FrameStore:
    pairs = [frames[index] for index in range(len(frames))]
    images = torch.stack([torch.from_numpy(pair.image.transpose(2, 0, 1).copy()) for pair in pairs])
    return FrameStore(images, torch.stack([torch.from_numpy(pair.semantic) for pair in pairs])).to(device)


def _decoding(frames: LabelledSet, workers: int) -> float:
    """Frames a second that the given number of threads read and decode, labels included."""
    cv2.setNumThreads(1)
    with ThreadPoolExecutor(workers) as pool:
        started = time.perf_counter()
        for _ in range(2):
            list(pool.map(frames.__getitem__, range(len(frames))))
    return round(2 * len(frames) / (time.perf_counter() - started), 1)


def _summary(figures: dict[str, Any]) -> str:
    width, height = figures["crop"]
    how = "CUDA graph" if figures["cuda_graph"] else "eager"
    lines = [
        f"{figures['architecture']}, {figures['stage']}, {figures['batch']} crops of {width}x{height}, "
        f"{figures['processes']} x {figures['device']}, {how}, {figures['workers']} loading processes each",
        f"{'training on one batch':<42}{figures['images_per_second_without_loading']:>9.1f} images/s",
    ]
    for kind, where in (("files", "frames decoded from files"), ("memory", "frames held on the device")):
        if kind in figures:
            found = figures[kind]
            lines += [
                f"{where}:",
                f"{'  training':<42}{found['images_per_second']:>9.1f} images/s",
                f"{'  the device waits for data':<42}{100 * found['share_waiting_for_data']:>9.1f} % of the time",
                f"{'  loading alone':<42}{found['crops_per_second_of_the_loader']:>9.1f} crops/s",
            ]
        if kind in figures and "decoded_frames_per_second" in figures[kind]:
            rate = figures[kind]["decoded_frames_per_second"]
            lines.append(f"{'  reading and decoding alone':<42}{rate:>9.1f} frames/s")
    if "gpu_gib" in figures:
        lines.append(f"{'memory of the GPU':<42}{figures['gpu_gib']:>9.1f} GiB")
    if "scaling" in figures:
        lines.append(f"{'times the rate of one process':<42}{figures['scaling']:>9.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_benchmark(configure, run))
