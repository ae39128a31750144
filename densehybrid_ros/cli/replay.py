# SPDX-License-Identifier: Apache-2.0
"""``densehybrid replay``: drives bags, pictures or a video through the node's perception, and measures it.

The figures are by distance bin, by obstacle and by alert, the same every time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from densehybrid_ros.bags.folder import find_bags, read_metadata
from densehybrid_ros.bags.recording import Recording
from densehybrid_ros.bags.topics import COMPRESSED_SUFFIX, parse_topics
from densehybrid_ros.cli.measuring import distance_edges
from densehybrid_ros.cli.node_parameters import add_drive_options, given_settings, open_drive, open_model, warn
from densehybrid_ros.cli.options import add_json, add_report, finite, output_folder, output_video, threshold
from densehybrid_ros.datasets.video_file import video_file
from densehybrid_ros.errors import InputError, OutputError
from densehybrid_ros.evaluation.hazard_figures import DEFAULT_SPEEDS, Braking
from densehybrid_ros.evaluation.replay import Answer, Replay, perceived_answers
from densehybrid_ros.evaluation.report import write_report
from densehybrid_ros.evaluation.results import format_result
from densehybrid_ros.inference import Segmenter
from densehybrid_ros.perception.perception import Perception
from densehybrid_ros.perception.settings import Settings
from densehybrid_ros.progress import progress

_EXAMPLE = """examples:
  densehybrid bag rendered drive --seed 7
  densehybrid replay drive --params-file config/perception.param.yaml -p trigger_count:=2 --report replay_report
  densehybrid replay drive --params-file config/perception.param.yaml --through node
  densehybrid replay dashcam.mp4 -p model:=ldn121 -p camera_height:=1.4 --video seen.mp4"""
_REASONS_PRINTED = 10


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.epilog = _EXAMPLE
    what = "folder of a rosbag2, a .mcap, .db3 or .bag file, a folder of such, a folder of pictures, or a video"
    parser.add_argument("bag", type=Path, metavar="RECORDING", help=what)
    what = "in the place of anomaly_threshold: a number or a name in the model card"
    add_drive_options(parser).add_argument("--threshold", type=threshold, metavar="NATS|NAME", help=what)
    what = "model: in this process, the same figures bit for bit (default); node: the real node over DDS, frame by "
    what += "frame, its masks and its own alerts"
    parser.add_argument("--through", choices=("model", "node"), default="model", help=what)
    what = "through the node at the recording's own pace, in this shell's ROS domain: RViz and Foxglove can watch"
    parser.add_argument("--live", action="store_true", help=what)
    parser.add_argument("--bins", help="edges of distance bins in metres (default: 5,10,...,50)")
    alerts = parser.add_argument_group("alerts")
    what = "speeds at which to compare the first alert with the stopping distance"
    alerts.add_argument("--speeds", metavar="KM/H,...", help=what)
    alerts.add_argument("--reaction-time", type=finite, default=1.0, metavar="S", help="until the brakes hold (1.0)")
    alerts.add_argument("--deceleration", type=finite, default=6.0, metavar="M/S2", help="of the brakes (6.0)")
    add_report(parser)
    parser.add_argument("--overlays", type=output_folder, metavar="DIR", help="folder for a picture of every frame")
    parser.add_argument("--video", type=output_video, metavar="FILE", help="these pictures as a video, .mp4 or .webm")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Replays the recordings and prints the figures."""
    edges, braking, settings = distance_edges(args.bins), _braking(args), given_settings(args)
    bags = find_bags(args.bag)
    if args.video and len(bags) > 1:
        raise InputError(f"--video {args.video}: {args.bag} holds {len(bags)} recordings; give one of them")
    segmenter, settings, level = open_model(settings, args.threshold)
    replay = Replay(level, edges, braking, len(bags) > 1, args.overlays)
    started = time.monotonic()
    for bag in bags:
        replay.begin(bag)
        _replay(args, bag, replay, segmenter, settings)
    if not replay.frames:
        raise InputError(next(iter(replay.left_out), f"{args.bag}: no frame was answered; try --through model"))
    result = replay.result(args.bag.name, segmenter.card.name)
    result.seconds = time.monotonic() - started
    result.device = segmenter.describe()
    for reason in result.left_out[:_REASONS_PRINTED]:
        warn(f"left out: {reason}")
    print("\n".join([format_result(result), "", *result.remarks]))
    if args.json:
        args.json.write(replay.figures(result))
    if args.report:
        write_report(args.report, [result])
        print(f"report: {args.report / 'report.html'}")
    return 0


def _braking(args: argparse.Namespace) -> Braking:
    speeds: tuple[float, ...] = DEFAULT_SPEEDS
    if args.speeds is not None:
        try:
            speeds = tuple(sorted(float(part) for part in args.speeds.split(",")))
        except ValueError as error:
            raise InputError(f"--speeds {args.speeds}: write speeds in km/h, such as 30,50,80") from error
    return Braking(speeds, args.reaction_time, args.deceleration)


def _replay(args: argparse.Namespace, path: Path, replay: Replay, segmenter: Segmenter, settings: Settings) -> None:
    """Adds one recording to the figures; what can't be evaluated of it is left out."""
    try:
        recording, perception, total = open_drive(args, path, segmenter, settings, replay.leave_out)
        answers = _answers(args, recording, replay, perception)
        with video_file(args.video, recording.period) if args.video else nullcontext() as show:
            for answer in progress(answers, f"replay {path.name}", total):
                try:
                    replay.add(answer, recording.topics)
                    if show:
                        show(answer.overlay())
                except OutputError:
                    raise
                except InputError as error:
                    replay.leave_out(str(error), 1)
    except OutputError:
        raise  # the next frame, or recording, could be written no better
    except InputError as error:
        promised, name = read_metadata(path).promised, parse_topics(args.topics).image
        replay.leave_out(str(error), promised.get(name, promised.get(name + COMPRESSED_SUFFIX, 0)))


def _answers(
    args: argparse.Namespace, recording: Recording, replay: Replay, perception: Perception
) -> Iterator[Answer]:
    if not args.live and args.through == "model":
        return perceived_answers(recording, perception, replay.leave_out, args.limit)
    try:
        from densehybrid_ros.demo.drive import node_answers
    except ImportError as error:
        raise InputError(f"--through node: needs ROS 2 ({error}); use --through model") from error
    classes = perception.segmenter.card.num_classes
    return node_answers(recording, perception.settings, classes, replay.leave_out, args.limit, args.live)
