# SPDX-License-Identifier: Apache-2.0
"""``densehybrid calibrate``: writes named thresholds, calibrated probability or region classifier into a model card."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

from densehybrid_ros.cli.measuring import add_stage_options, configure_segmenter, open_segmenter, still_stage
from densehybrid_ros.cli.options import add_json, count, not_negative, output_file, positive
from densehybrid_ros.datasets.registry import EVALUATION_SETS, open_evaluation_sets
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.calibration import (
    INLIER_Q95,
    OUTLIER_TPR95,
    anomaly_labels,
    candidate_thresholds,
    fit_confidence,
    inlier_threshold,
    outlier_threshold,
)
from densehybrid_ros.evaluation.dense_scores import HYBRID, KEPT_BYTES, FrameScorer, ScoredFrame, ScoredSet, spread
from densehybrid_ros.evaluation.froc import Froc, FrocAccumulator
from densehybrid_ros.evaluation.pixel_accumulator import PixelAccumulator
from densehybrid_ros.evaluation.region_fit import FALSE_REGIONS, RegionTable
from densehybrid_ros.networks import ModelCard, write_card

_EXAMPLE = """examples:
  densehybrid calibrate --model runs/light.safetensors --dataset cityscapes_640 --root /data/cityscapes_640
  densehybrid calibrate --model runs/light.safetensors --dataset folder --root DIR --by outlier_tpr95
  densehybrid calibrate --model runs/light.safetensors --dataset folder --root DIR --false-hazards-per-minute 1
  densehybrid calibrate --model runs/light.safetensors --dataset folder --root DIR --by probability
  densehybrid calibrate --model runs/light.safetensors --dataset folder --root DIR --by regions --default"""
_PROBABILITY, _REGIONS = "probability", "regions"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.epilog = _EXAMPLE
    configure_segmenter(parser)
    parser.add_argument("--dataset", required=True, metavar="NAME[,NAME...]", help=", ".join(EVALUATION_SETS))
    text = "folder of the held-out data; of several sets: that which holds a folder of each one's name"
    parser.add_argument("--root", type=Path, required=True, help=text)
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--by",
        choices=(INLIER_Q95, OUTLIER_TPR95, _PROBABILITY, _REGIONS),
        help=f"{INLIER_Q95}: 5 %% of inlier pixels exceed it (the default; needs no anomalies); "
        f"{OUTLIER_TPR95}: 95 %% of anomalous pixels exceed it; "
        f"{_PROBABILITY}: no threshold, but how a score becomes P(anomaly) (needs anomalies); "
        f"{_REGIONS}: what tells obstacles from false regions, and the threshold that it is best at (needs anomalies)",
    )
    text = "at most N hazards a minute that lie on no anomaly, after the node's hazard stage but without its tracks"
    how.add_argument("--false-hazards-per-minute", type=not_negative, metavar="N", help=text)
    text = "frames a second, each as one of a drive (default: 10)"
    parser.add_argument("--hertz", type=positive, metavar="N", default=10.0, help=text)
    add_stage_options(parser)
    parser.add_argument("--default", action="store_true", help="make this the threshold that the node takes")
    parser.add_argument("--output", type=output_file, help="card to write (default: the model's own)")
    parser.add_argument("--limit", type=count, metavar="N", help="evenly spread subset of at most this many frames")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Finds the threshold and writes it."""
    per_minute = args.false_hazards_per_minute
    if args.ego_mask and per_minute is None:
        raise InputError("--ego-mask: is for --false-hazards-per-minute; add it")
    if args.default and args.by == _PROBABILITY:
        raise InputError("--default: chooses a threshold, and --by probability finds none; leave one of them out")
    opened = open_evaluation_sets(args.dataset, args.root).values()
    segmenter = open_segmenter(args, args.device)
    names = [item.name for item in segmenter.card.classes]
    scorer, stage = FrameScorer(segmenter, [HYBRID]), still_stage(args, segmenter.card)
    walks_again = per_minute is not None or args.by == _REGIONS
    room = KEPT_BYTES // len(opened) if walks_again else 0
    sets = [ScoredSet(scorer, dataset.for_classes(names), spread(len(dataset), args.limit), room) for dataset in opened]

    def scored(description: str) -> Iterator[ScoredFrame]:
        for one in sets:
            yield from one.walk_all(description)

    pixels, frames, through = PixelAccumulator(), 0, set()
    for item in scored("calibrate"):
        labels = torch.from_numpy(anomaly_labels(item.frame)).to(segmenter.device)
        pixels.update(item.scores[HYBRID], labels, item.frame.name)
        frames += 1
        through.add(item.through)
    card, size = segmenter.model.card, segmenter.input_size
    entry: dict[str, Any] = {"dataset": args.dataset, "frames": frames, "backend": " and ".join(sorted(through))}
    name, value, worth = args.by or INLIER_Q95, None, ""
    if name == _PROBABILITY:
        fitted = fit_confidence(pixels)
        card.fitted_confidence = fitted.confidence
        entry |= {"prior": round(fitted.prior, 6), "expected_calibration_error": round(fitted.error, 6)}
    elif per_minute is not None:
        name = f"false_hazards_{per_minute:g}_per_minute"
        counter = FrocAccumulator(stage, candidate_thresholds(pixels))
        for item in scored("count false hazards"):
            counter.update(item)
        value, found, worth = _by_false_hazards(args, counter.compute())
        entry |= found
    elif name == _REGIONS:
        table = RegionTable(pixels, card.classes, args.min_area)
        for item in scored("find regions"):
            score, semantic = (np.asarray(values.cpu()) for values in (item.scores[HYBRID], item.prediction))
            table.add(item.frame, anomaly_labels(item.frame), score, semantic)
        fit = table.fit()
        value, card.region_classifier = fit.threshold, fit.classifier
        entry |= {"min_area": args.min_area, **fit.figures}
        by_mean = f"by the mean score {entry['recall_by_mean_score']:.1%}"
        worth = f"regions: {entry['recall']:.1%} of the obstacles at {FALSE_REGIONS} false ones a frame, {by_mean}"
    else:
        value = outlier_threshold(pixels) if name == OUTLIER_TPR95 else inlier_threshold(pixels)
    entry |= {
        "inlier_pixels": pixels.negatives.total,
        "anomalous_pixels": pixels.positives.total,
        "size": f"{size[1]}x{size[0]}" if size else "as the images",
        **({"input_policy": args.input_policy} if args.input_policy else {}),
        "date": datetime.now(timezone.utc).date().isoformat(),
    }
    card.details.setdefault("calibration", {})[name] = entry
    if value is not None:
        card.thresholds[name] = value
        if args.default or card.default_threshold is None:
            card.default_threshold = name
    path: Path = args.output or segmenter.model.path.with_suffix(".yaml")
    write_card(path, card)
    made, text = _told(card, name, value, entry)
    if args.json:
        args.json.write({"card": str(path), **made, **entry})
    print(f"{path}: {text}")
    if worth:
        print(worth)
    return 0


def _by_false_hazards(args: argparse.Namespace, froc: Froc) -> tuple[float, dict[str, Any], str]:
    """Returns the lowest threshold from which on the rate is kept, its figures for the card, and what it is worth."""
    rate, hertz = args.false_hazards_per_minute, args.hertz
    # No inlier pixel exceeds the last threshold, so that it has no false hazard.
    point = (froc.at_most(rate / (60 * hertz)) or froc.points[-1:])[0]
    figures = {"hertz": hertz, "false_hazards": point.false_hazards, "min_area": args.min_area}
    minutes = froc.frames / (60 * hertz)
    text = f"false hazards: {point.false_hazards} in {minutes:.2f} minutes at {hertz:g} frames a second"
    if minutes * rate < 1:
        text += ", too short for that rate: it has none"
    if froc.obstacles:
        recall = round(point.all_found / froc.obstacles, 4)
        figures |= {"obstacles": froc.obstacles, "recall": recall}
        text += f"; obstacles found: {recall:.1%} of {froc.obstacles}"
    return point.threshold, figures, text


def _told(card: ModelCard, name: str, value: float | None, entry: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """What was found, for JSON and as a line."""
    frames = f"{entry['frames']} frames of {entry['dataset']}"
    if value is not None:
        is_default = card.default_threshold == name
        default = ", the node's default" if is_default else ""
        found = {"name": name, "threshold": value, "default": is_default}
        return found, f"{name} = {value:.4f} nats{default}, from {frames}"
    confidence = card.confidence
    return {"midpoint": confidence.midpoint, "scale": confidence.scale}, (
        f"P(anomaly) is 1/2 at {confidence.midpoint:.4f} nats, scale {confidence.scale:.4f} nats; expected "
        f"calibration error {entry['expected_calibration_error']:.4f} at {entry['prior']:.2%} anomalous pixels "
        f"({frames})"
    )
