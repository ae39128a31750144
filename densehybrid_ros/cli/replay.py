"""``densehybrid replay``: evaluates bags by distance bin and by obstacle, the same figures every time."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from densehybrid_ros.bags.folder import find_bags
from densehybrid_ros.bags.reader import BagFrames
from densehybrid_ros.bags.salvage import promised_messages
from densehybrid_ros.bags.topics import COMPRESSED_SUFFIX, parse_topics
from densehybrid_ros.cli.measuring import distance_edges, hazard_settings, process_device
from densehybrid_ros.cli.options import count, finite, output_file, output_folder
from densehybrid_ros.datasets.evaluation_set import EvaluationFrame
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.dense_scores import FrameScorer
from densehybrid_ros.evaluation.hazard_figures import DEFAULT_SPEEDS, Braking, HazardAccumulator
from densehybrid_ros.evaluation.replay import SCORE, Answer, Replay
from densehybrid_ros.evaluation.report import write_report
from densehybrid_ros.evaluation.results import EvaluationResult, format_result
from densehybrid_ros.evaluation.shards import Shards
from densehybrid_ros.files import write_text_atomically
from densehybrid_ros.hazards.drivable import unknown_classes
from densehybrid_ros.inference.backends import device_name
from densehybrid_ros.networks import LoadedModel, load_model
from densehybrid_ros.perception.images import rgb_from_message
from densehybrid_ros.progress import progress

_EXAMPLE = """examples:
  densehybrid bag rendered drive --seed 7
  densehybrid replay drive --model light --report replay_report
  densehybrid replay drive --model light --through node
  torchrun --nproc-per-node 2 -m densehybrid_ros replay drives/ --model light"""
_REASONS_PRINTED = 10


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.epilog = _EXAMPLE
    parser.add_argument(
        "bag", type=Path, metavar="BAG", help="folder of a rosbag2, a .mcap, .db3 or .bag file, or a folder of such"
    )
    parser.add_argument("--model", default="light", help="a shipped model's name or a .safetensors file")
    parser.add_argument(
        "--through",
        choices=("model", "node"),
        default="model",
        help="model: call it directly, the same figures bit for bit (default); node: over DDS, frame after frame",
    )
    parser.add_argument("--threshold", type=finite, help="of the hybrid score (default: the model card's)")
    parser.add_argument("--bins", help="edges of distance bins in metres (default: 5,10,...,50)")
    parser.add_argument("--topics", default="", metavar="KEY=TOPIC,...", help="other names, such as image=/left/image")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    alerts = parser.add_argument_group("alerts")
    alerts.add_argument(
        "--hazards",
        default="",
        metavar="KEY=VALUE,...",
        help="settings of the hazard stage, such as trigger_count=1,trigger_window=1 (default: the node's)",
    )
    alerts.add_argument("--ego-speed", type=finite, metavar="M/S", help="where the bag holds no odometry")
    alerts.add_argument(
        "--speeds", metavar="KM/H,...", help="speeds at which to compare the first alert with the stopping distance"
    )
    alerts.add_argument("--reaction-time", type=finite, default=1.0, metavar="S", help="until the brakes hold (1.0)")
    alerts.add_argument("--deceleration", type=finite, default=6.0, metavar="M/S2", help="of the brakes (6.0)")
    parser.add_argument("--limit", type=count, metavar="N", help="the first N frames of each bag (through the model)")
    parser.add_argument(
        "--report", type=output_folder, metavar="DIR", help="folder for report.html, report.json, report.csv"
    )
    parser.add_argument("--overlays", type=output_folder, metavar="DIR", help="folder for a picture of every frame")
    parser.add_argument("--json", type=output_file, help="file for the figures")


def run(args: argparse.Namespace) -> int:
    """Replays the bags and prints the figures."""
    edges = distance_edges(args.bins)
    parse_topics(args.topics)  # as the bins: wrong ones end the command before any work
    settings, braking = hazard_settings(args.hazards), _braking(args)
    if args.limit and args.through == "node":
        raise InputError("--limit: the whole bag is played to a node; leave it out, or take --through model")
    bags = find_bags(args.bag)
    shards = Shards()
    try:
        if shards.count > 1 and args.through == "node":
            raise InputError("--through node: one process plays to one node; run it without torchrun")
        device = process_device(args.device, shards)
        model = load_model(args.model, device)
        threshold = model.card.threshold() if args.threshold is None else args.threshold
        card = model.card
        if strange := unknown_classes(card.classes, settings.drivable_classes):
            known = ", ".join(item.name for item in card.classes)
            raise InputError(f"--hazards drivable_classes: {args.model} has no class {strange[0]!r}; it has: {known}")
        hazards = HazardAccumulator(card.classes, card.confidence, settings, edges, braking, args.ego_speed)
        replay = Replay(threshold, edges, bags, hazards, args.overlays)
        started = time.monotonic()
        for number in shards.indices(len(bags)):
            replay.begin(number)
            _replay_bag(args, bags[number], replay, model, device, threshold)
        replay = shards.merged(replay)
    finally:
        shards.close()
    if not replay.frames:
        nothing = f"{args.bag}: no frame was answered; try --through model"
        raise InputError(replay.left_out[0].reason if replay.left_out else nothing)
    result = replay.result(args.bag.name, model.card.name)
    result.seconds = time.monotonic() - started
    result.device = device_name(device)
    if shards.is_first:
        _publish(args, replay, result)
    return 0


def _braking(args: argparse.Namespace) -> Braking:
    if args.ego_speed is not None and args.ego_speed < 0:
        raise InputError(f"--ego-speed {args.ego_speed:g}: give metres a second, at least 0")
    speeds: tuple[float, ...] = DEFAULT_SPEEDS
    if args.speeds is not None:
        try:
            speeds = tuple(sorted(float(part) for part in args.speeds.split(",")))
        except ValueError as error:
            raise InputError(f"--speeds {args.speeds}: write speeds in km/h, such as 30,50,80") from error
    return Braking(speeds, args.reaction_time, args.deceleration)


def _replay_bag(
    args: argparse.Namespace, bag: Path, replay: Replay, model: LoadedModel, device: torch.device, threshold: float
) -> None:
    """Adds one bag to the figures; what can't be evaluated of it is left out."""
    try:
        frames = BagFrames(bag, rgb_from_message, parse_topics(args.topics), replay.leave_out)
        answers = (
            _through_node(args, bag, frames, threshold, replay)
            if args.through == "node"
            else _through_model(bag, frames, model, device, replay)
        )
        total = min(len(frames), args.limit or len(frames))
        for number, answer in enumerate(progress(answers, f"replay {bag.name}", total)):
            try:
                replay.add(
                    number, answer, f"{bag}: {frames.topics.labels or frames.topics.image} at {answer.frame.stamp} ns"
                )
            except InputError as error:
                replay.leave_out(str(error), 1)
            if number + 1 == args.limit:
                break
    except InputError as error:
        replay.leave_out(str(error), sum(promised_messages(bag).get(name, 0) for name in _picture_names(args.topics)))


def _picture_names(topics: str) -> tuple[str, str]:
    name = parse_topics(topics).image
    return name, name + COMPRESSED_SUFFIX


def _publish(args: argparse.Namespace, replay: Replay, result: EvaluationResult) -> None:
    for reason in result.left_out[:_REASONS_PRINTED]:
        print(f"left out: {reason}", file=sys.stderr)
    print(format_result(result))
    print("\n" + replay.summary())
    if args.json:
        write_text_atomically(args.json, json.dumps(replay.figures(result), indent=2, allow_nan=False) + "\n")
    if args.report:
        write_report(args.report, [result])
        print(f"report: {args.report / 'report.html'}")


def _through_model(
    bag: Path, frames: BagFrames, model: LoadedModel, device: torch.device, replay: Replay
) -> Iterator[Answer]:
    scorer = FrameScorer(model.network, device, [SCORE])
    for number, frame in enumerate(frames):
        began = time.monotonic()
        name = f"{bag}: {frames.topics.image} at {frame.stamp} ns"
        try:
            scored = scorer(number, EvaluationFrame(name, np.ascontiguousarray(frame.image)))
        except InputError as error:
            replay.leave_out(str(error), 1)
            continue
        semantic, score = scored.prediction.cpu().numpy(), scored.scores[SCORE].cpu().numpy()
        yield Answer(frame, semantic, score, 1e3 * (time.monotonic() - began))


def _through_node(
    args: argparse.Namespace, bag: Path, frames: BagFrames, threshold: float, replay: Replay
) -> Iterator[Answer]:
    """Plays the bag to the real node, one frame after the answer to the one before, and reads what it recorded."""
    try:
        from densehybrid_ros.demo.answers import answered_frames
        from densehybrid_ros.demo.drive import drive, picture_topic, running_node
    except ImportError as error:
        raise InputError(f"--through node: needs ROS 2 ({error}); use --through model") from error
    with tempfile.TemporaryDirectory() as folder:
        recording, log = Path(folder) / "recording", Path(folder) / "node.log"
        pictures = picture_topic(bag, frames.topics.image)
        usable = BagFrames(bag, rgb_from_message, parse_topics(args.topics), lambda *_: None)
        camera = next((frame.camera for frame in usable), None)
        with running_node(
            str(args.model),
            "auto",
            threshold,
            log,
            pictures=pictures,
            device=args.device,
            camera=camera,
            topics=frames.topics,
        ) as node:
            driven = drive(node, bag, recording, len(frames), image_topic=pictures.name)
        latencies = driven.latencies_ms()
        for answered in answered_frames(bag, recording, parse_topics(args.topics), replay.leave_out):
            if answered.score is not None and answered.semantic is not None:
                latency = latencies.get(answered.frame.stamp, float("nan"))
                yield Answer(answered.frame, answered.semantic, answered.score, latency)
