# SPDX-License-Identifier: Apache-2.0
"""``densehybrid calibrate``: writes named thresholds, calibrated probability or region classifier into a model card."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from densehybrid_ros.cli.measuring import add_stage_options, configure_segmenter, open_segmenter, still_stage
from densehybrid_ros.cli.options import add_json, count, not_negative, output_file, positive, several
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
  densehybrid calibrate --model runs/light.safetensors --dataset folder --root DIR --by inlier_q95,probability \\
      --false-hazards-per-minute 1,10 --default false_hazards_10_per_minute
  densehybrid calibrate --model runs/light.safetensors --dataset folder --root DIR --by regions --default"""
_PROBABILITY, _REGIONS = "probability", "regions"
_KINDS = (INLIER_Q95, OUTLIER_TPR95, _PROBABILITY, _REGIONS)


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.epilog = _EXAMPLE
    configure_segmenter(parser)
    parser.add_argument("--dataset", required=True, metavar="NAME[,NAME...]", help=", ".join(EVALUATION_SETS))
    text = "folder of the held-out data; of several sets: that which holds a folder of each one's name"
    parser.add_argument("--root", type=Path, required=True, help=text)
    text = f"any of {INLIER_Q95}: 5 %% of inlier pixels exceed it (the default; needs no anomalies); "
    text += f"{OUTLIER_TPR95}: 95 %% of anomalous pixels exceed it; "
    text += f"{_PROBABILITY}: no threshold, but how a score becomes P(anomaly) (needs anomalies); "
    text += f"{_REGIONS}: what tells obstacles from false regions, and the threshold that it is best at "
    text += "(needs anomalies)"
    parser.add_argument("--by", type=several(_kind), metavar="KIND[,KIND...]", default=[], help=text)
    text = "at most N hazards a minute that lie on no anomaly, after the node's hazard stage but without its tracks"
    parser.add_argument(
        "--false-hazards-per-minute", type=several(not_negative), metavar="N[,N...]", default=[], help=text
    )
    text = "frames a second, each as one of a drive (default: 10)"
    parser.add_argument("--hertz", type=positive, metavar="N", default=10.0, help=text)
    add_stage_options(parser)
    text = "make this the threshold that the node takes; with several, NAME says which"
    parser.add_argument("--default", nargs="?", const="", metavar="NAME", help=text)
    parser.add_argument("--output", type=output_file, help="card to write (default: the model's own)")
    parser.add_argument("--limit", type=count, metavar="N", help="evenly spread subset of at most this many frames")
    add_json(parser)


def _kind(text: str) -> str:
    if text not in _KINDS:
        raise argparse.ArgumentTypeError(f"{text!r} is unknown; choose from {', '.join(_KINDS)}")
    return text


class _Found(NamedTuple):
    """One thing that goes into the card."""

    name: str
    threshold: float | None  # In nats; None where it is none
    figures: dict[str, Any]  # What the card says of it beside the threshold
    worth: str = ""  # What it is worth, for people


def run(args: argparse.Namespace) -> int:
    """Finds what is asked for in one run of the network, and writes it."""
    rates = {f"false_hazards_{rate:g}_per_minute": rate for rate in args.false_hazards_per_minute}
    kinds = list(dict.fromkeys(args.by)) or ([] if rates else [INLIER_Q95])
    if args.ego_mask and not rates:
        raise InputError("--ego-mask: is for --false-hazards-per-minute; add it")
    default = _default(args.default, [name for name in (*kinds, *rates) if name != _PROBABILITY])
    opened = open_evaluation_sets(args.dataset, args.root).values()
    segmenter = open_segmenter(args, args.device)
    card, size = segmenter.model.card, segmenter.input_size
    names = [item.name for item in segmenter.card.classes]
    scorer, stage = FrameScorer(segmenter, [HYBRID]), still_stage(args, segmenter.card)
    room = KEPT_BYTES // len(opened) if rates or _REGIONS in kinds else 0
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
    found = [_by_pixels(card, name, pixels) for name in kinds if name != _REGIONS]
    if _REGIONS in kinds:
        found.append(_by_regions(card, RegionTable(pixels, card.classes, args.min_area), scored("find regions")))
    if rates:
        counter = FrocAccumulator(stage, candidate_thresholds(pixels))
        for item in scored("count false hazards"):
            counter.update(item)
        froc = counter.compute()
        found += [_by_false_hazards(args, name, rate, froc) for name, rate in rates.items()]
    data = {"dataset": args.dataset, "frames": frames, "backend": " and ".join(sorted(through))}
    run_of = {
        "inlier_pixels": pixels.negatives.total,
        "anomalous_pixels": pixels.positives.total,
        "size": f"{size[1]}x{size[0]}" if size else "as the images",
        **({"input_policy": args.input_policy} if args.input_policy else {}),
        "date": datetime.now(timezone.utc).date().isoformat(),
    }
    entries = {each.name: data | each.figures | run_of for each in found}
    card.details.setdefault("calibration", {}).update(entries)
    new = {each.name: each.threshold for each in found if each.threshold is not None}
    card.thresholds.update(new)
    card.default_threshold = default or card.default_threshold or next(iter(new), None)
    path: Path = args.output or segmenter.model.path.with_suffix(".yaml")
    write_card(path, card)
    told = [_told(card, each, entries[each.name]) for each in found]
    if args.json:
        results = [figures | entry for (figures, _), entry in zip(told, entries.values(), strict=True)]
        args.json.write({"card": str(path), **(results[0] if len(results) == 1 else {"results": results})})
    for (_, text), each in zip(told, found, strict=True):
        print(f"{path}: {text}")
        if each.worth:
            print(each.worth)
    return 0


def _default(named: str | None, thresholds: Sequence[str]) -> str | None:
    """Returns which of the thresholds becomes the node's, None if it is not to change.

    Raises:
        InputError: None is found, or it is not clear which.
    """
    if named is None:
        return None
    if not thresholds:
        raise InputError("--default: chooses a threshold, and --by probability finds none; leave one of them out")
    if not named and len(thresholds) == 1:
        return thresholds[0]
    if named not in thresholds:
        raise InputError(f"--default {named}".rstrip() + f": name one of {', '.join(thresholds)}")
    return named


def _by_pixels(card: ModelCard, name: str, pixels: PixelAccumulator) -> _Found:
    if name == _PROBABILITY:
        fitted = fit_confidence(pixels)
        card.fitted_confidence = fitted.confidence
        figures = {"prior": round(fitted.prior, 6), "expected_calibration_error": round(fitted.error, 6)}
        return _Found(name, None, figures)
    return _Found(name, outlier_threshold(pixels) if name == OUTLIER_TPR95 else inlier_threshold(pixels), {})


def _by_regions(card: ModelCard, table: RegionTable, frames: Iterator[ScoredFrame]) -> _Found:
    for item in frames:
        score, semantic = (np.asarray(values.cpu()) for values in (item.scores[HYBRID], item.prediction))
        table.add(item.frame, anomaly_labels(item.frame), score, semantic)
    fit = table.fit()
    card.region_classifier = fit.classifier
    by_mean = f"by the mean score {fit.figures['recall_by_mean_score']:.1%}"
    worth = f"regions: {fit.figures['recall']:.1%} of the obstacles at {FALSE_REGIONS} false ones a frame, {by_mean}"
    return _Found(_REGIONS, fit.threshold, {"min_area": table.min_area, **fit.figures}, worth)


def _by_false_hazards(args: argparse.Namespace, name: str, rate: float, froc: Froc) -> _Found:
    """Finds the lowest threshold from which on the rate is kept, with its figures for the card."""
    hertz = args.hertz
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
    return _Found(name, point.threshold, figures, text)


def _told(card: ModelCard, found: _Found, entry: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """What was found, for JSON and as a line."""
    frames = f"{entry['frames']} frames of {entry['dataset']}"
    if found.threshold is not None:
        is_default = card.default_threshold == found.name
        default = ", the node's default" if is_default else ""
        figures = {"name": found.name, "threshold": found.threshold, "default": is_default}
        return figures, f"{found.name} = {found.threshold:.4f} nats{default}, from {frames}"
    confidence = card.confidence
    return {"midpoint": confidence.midpoint, "scale": confidence.scale}, (
        f"P(anomaly) is 1/2 at {confidence.midpoint:.4f} nats, scale {confidence.scale:.4f} nats; expected "
        f"calibration error {entry['expected_calibration_error']:.4f} at {entry['prior']:.2%} anomalous pixels "
        f"({frames})"
    )
