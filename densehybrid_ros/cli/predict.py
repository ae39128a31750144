# SPDX-License-Identifier: Apache-2.0
"""``densehybrid predict``: pictures, a video or a bag into overlays, masks, scores and a list of hazards.

Everything is computed as the node computes it, with the node's parameters. The result is left whole or not at all.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from densehybrid_ros.bags.reader import is_pictures
from densehybrid_ros.bags.sources import ordered_pictures
from densehybrid_ros.cli.node_parameters import add_drive_options, given_settings, open_drive, open_model, warn
from densehybrid_ros.cli.options import output_folder, threshold
from densehybrid_ros.datasets.pictures import write_picture
from densehybrid_ros.datasets.video_file import video_file
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.replay import perceived_frames
from densehybrid_ros.files import atomic_directory, write_text_atomically
from densehybrid_ros.hazards.hazard import Hazard, Level
from densehybrid_ros.perception.overlay import SCORE_OFFSET, SCORE_SCALE, frame_overlay, score_steps
from densehybrid_ros.perception.perception import Perceived
from densehybrid_ros.progress import progress

HAZARDS = "hazards.jsonl"
_MEASURED = ("probability", "distance", "distance_std", "lateral", "width", "time_to_reach")
_EPILOG = f"""what it leaves in DIR:
  overlays/NAME.jpg         classes, unknown regions, hazards with id and distance, and the alert
  overlays.mp4              the same as a video; of a video, a bag, or pictures with --fps
  semantic/NAME.png         --masks: train ids; open_set/NAME.png: the same with unknown = number of classes
  scores/NAME.png           --scores: 16 bits, nats = {SCORE_SCALE} * value - {-SCORE_OFFSET:g}; higher = more anomalous
  {HAZARDS}             one line of JSON a frame:
    frame, stamp in seconds, image_size [width, height], threshold in nats, level (OK, WARN, ERROR, STALE), message,
    problems, and hazards, each with id, state (active, candidate), level, box [left, top, width, height] and area in
    pixels, score (mean) and peak_score in nats, probability 0..1, distance, distance_std, lateral (to the right) and
    width in metres, time_to_reach in seconds; null: unknown
A picture without --fps is judged alone: what is unknown on its road is a hazard at once.
NAME is the picture's own name, else frame_NUMBER_SECONDS.

examples:
  densehybrid predict street.jpg --output seen
  densehybrid predict pictures/ --output seen --model mine.safetensors --masks --scores
  densehybrid predict dashcam.mp4 --output seen -p camera_height:=1.4 --limit 300"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.epilog = _EPILOG
    what = "a picture, a folder of pictures, a video or a bag"
    parser.add_argument("source", type=Path, metavar="IMAGE|FOLDER|VIDEO|BAG", help=what)
    what = "folder for the result; replaces one of its own"
    parser.add_argument("--output", type=output_folder, required=True, metavar="DIR", help=what)
    node = add_drive_options(parser, fps="; pictures are single ones unless this is given")
    node.add_argument("--threshold", type=threshold, metavar="NATS|NAME", help="in the place of anomaly_threshold")
    parser.add_argument("--masks", action="store_true", help="write the semantic and the open-set mask of every frame")
    parser.add_argument("--scores", action="store_true", help="write the anomaly score of every frame")


def run(args: argparse.Namespace) -> int:
    """Predicts the frames and prints what was found."""
    output: Path = args.output
    if output.is_dir() and any(output.iterdir()) and not (output / HAZARDS).is_file():
        raise InputError(f"--output {output}: holds files that are not of predict; name a new folder")
    moves = args.fps is not None or not is_pictures(args.source)
    settings = given_settings(args)
    if not moves:
        settings = replace(settings, trigger_count=1, trigger_window=1)
    segmenter, settings, _ = open_model(settings, args.threshold)
    left_out: dict[str, int] = {}  # a recording may be read more than once, and tells the same each time
    entries: dict[str, dict[str, Any]] = {}
    with atomic_directory(output) as folder:
        sources = [args.source] if moves else progress(ordered_pictures(args.source)[: args.limit], "predict")
        for source in sources:  # each picture is a recording of its own
            recording, perception, total = open_drive(args, source, segmenter, settings, left_out.__setitem__)
            frames = perceived_frames(recording, perception, left_out.__setitem__, args.limit)
            with video_file(folder / "overlays.mp4", recording.period) if moves else nullcontext() as show:
                for recorded, perceived, _ in progress(frames, "predict", total) if moves else frames:
                    # Of a.jpg and a.png the second gets a number.
                    name = recorded.name if recorded.name not in entries else f"{recorded.name}_{len(entries):06d}"
                    overlay = frame_overlay(perceived, settings.overlay_opacity, name)
                    write_picture(folder / "overlays" / f"{name}.jpg", overlay)
                    if show:
                        show(overlay)
                    masks = perceived.masks
                    planes = {"semantic": masks.semantic, "open_set": masks.open_set} if args.masks else {}
                    planes |= {"scores": score_steps(masks.anomaly_score)} if args.scores else {}
                    for kind, plane in planes.items():
                        write_picture(folder / kind / f"{name}.png", plane)
                    entries[name] = _entry(name, perceived)
        if not entries:
            raise InputError(next(iter(left_out), f"{args.source}: holds no frame"))
        for reason in left_out:
            warn(f"left out: {reason}")
        lines = (json.dumps(entry, allow_nan=False) for entry in entries.values())
        write_text_atomically(folder / HAZARDS, "".join(f"{line}\n" for line in lines))
    levels, left = Counter(entry["level"] for entry in entries.values()), sum(left_out.values())
    print(f"frames  {len(entries)}" + (f", {left} left out" if left else ""))
    print("alerts  " + ", ".join(f"{level.name} {levels[level.name]}" for level in Level if levels[level.name]))
    made = sorted(f"{item.name}/" if item.is_dir() else item.name for item in output.iterdir())
    print(f"output  {output}: {', '.join(made)}")
    return 0


def _entry(name: str, perceived: Perceived) -> dict[str, Any]:
    """Returns what is said of a frame, for JSON."""
    frame, hazards = perceived.frame, perceived.hazards
    height, width = frame.image.shape[:2]
    return {
        "frame": name,
        "stamp": frame.stamp,
        "image_size": [width, height],
        "threshold": perceived.threshold,
        "level": perceived.alert.level.name,
        "message": perceived.alert.summary.message,
        "problems": list(perceived.problems),
        "hazards": [_hazard(item) for item in (*hazards.hazards, *hazards.candidates)] if hazards else [],
    }


def _hazard(hazard: Hazard) -> dict[str, Any]:
    region = hazard.region
    return {
        "id": hazard.id,
        "state": hazard.state.value,
        "missed_frames": hazard.missed,
        "level": hazard.level.name,
        "box": [region.left, region.top, region.width, region.height],
        "area": region.area,
        "score": region.mean_score,
        "peak_score": region.peak_score,
        **{name: getattr(hazard, name) for name in _MEASURED},
    }
