"""``densehybrid evaluate``: a model's figures on a data set or for a table of the paper, beside the published ones."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from densehybrid_ros.cli.measuring import (
    configure_segmenter,
    distance_edges,
    open_segmenter,
    process_device,
    segmenter_options,
)
from densehybrid_ros.cli.options import count, output_file, output_folder
from densehybrid_ros.datasets.evaluation_set import EvaluationSet
from densehybrid_ros.datasets.registry import EVALUATION_SETS, open_evaluation_set, open_evaluation_sets
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.evaluate import evaluate, spread
from densehybrid_ros.evaluation.fitting import build_model_scores, collect_pixels, fit_scores
from densehybrid_ros.evaluation.paper_tables import PAPER_TABLES, format_paper_table, open_parts, paper_table_csv
from densehybrid_ros.evaluation.protocols import PROTOCOLS
from densehybrid_ros.evaluation.report import write_report
from densehybrid_ros.evaluation.results import EvaluationResult, format_result, to_csv
from densehybrid_ros.evaluation.shards import Shards
from densehybrid_ros.files import write_text_atomically
from densehybrid_ros.inference import Segmenter
from densehybrid_ros.networks import ModelCard, model_path, read_card, write_card
from densehybrid_ros.scores import SCORES
from densehybrid_ros.scores.model_score import ModelScore
from densehybrid_ros.scores.model_scores import MODEL_SCORES

_EXAMPLE = """examples:
  densehybrid evaluate --dataset road_obstacle21_val --root /data/road_obstacle21_val --model light
  densehybrid evaluate --dataset cityscapes_640 --root /data/cityscapes_640 --model runs/light.safetensors
  densehybrid evaluate --dataset road_anomaly21_val,road_obstacle21_val --root /data --model light --scores hybrid
  densehybrid evaluate --table 2 --root /data --model light  # /data/road_anomaly, /data/fishyscapes_static, ...
  torchrun --nproc-per-node 2 -m densehybrid_ros evaluate --dataset folder --root DIR --model light"""
_BASIC_SCORES = ("hybrid", "posterior", "likelihood", "max_softmax", "max_logit")


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.epilog = _EXAMPLE
    what = parser.add_mutually_exclusive_group(required=True)
    known = ", ".join(EVALUATION_SETS)
    what.add_argument("--dataset", metavar="NAME[,NAME...]", help=f"{known}; or several of them, separated by commas")
    what.add_argument(
        "--table", type=int, choices=PAPER_TABLES, help="a table of the paper: all of its data sets that are there"
    )
    root = "folder of the data set; with several, or --table, that of the data sets, each in a folder of its name"
    parser.add_argument("--root", type=Path, required=True, help=root)
    configure_segmenter(parser)
    scores = ", ".join((*SCORES, *MODEL_SCORES))
    parser.add_argument("--scores", help=f"any of {scores} (default: the basic five, or those of the table)")
    fitted = ", ".join(name for name, build in MODEL_SCORES.items() if build().needs_fit)
    parser.add_argument("--fit-dataset", metavar="NAME", help=f"training frames, which {fitted} need")
    parser.add_argument("--fit-root", type=Path, metavar="DIR", help="folder of the training frames")
    parser.add_argument("--fit-frames", type=count, default=100, metavar="N", help="how many of them (default: 100)")
    parser.add_argument(
        "--threshold",
        metavar="NAME|NATS",
        help="of the hybrid score, for its components and pictures: a name in the model card, such as default, or a "
        "number (default: that of its best pixel F1, as the benchmark has it)",
    )
    parser.add_argument("--bins", help="edges of distance bins in metres, as 5,10,15 (default: LostAndFound's)")
    parser.add_argument("--limit", type=count, metavar="N", help="evenly spread subset of at most this many frames")
    parser.add_argument("--json", type=output_file, help="file for the figures")
    parser.add_argument("--csv", type=output_file, help="file for the table")
    parser.add_argument("--card", action="store_true", help="write the figures into the model's card, too")
    parser.add_argument(
        "--report", type=output_folder, metavar="DIR", help="folder for report.html, report.json, report.csv"
    )


def run(args: argparse.Namespace) -> int:
    """Evaluates and prints."""
    table = PAPER_TABLES[args.table] if args.table else None
    distance_edges(args.bins)  # wrong ones end the command before any work
    usual = table.scores if table else _BASIC_SCORES
    scores = [name for name in args.scores.split(",") if name] if args.scores else list(usual)
    if not scores:
        raise InputError(f"--scores {args.scores}: names none; leave it out for the usual ones")
    if table:
        sets, missing = open_parts(table, args.root)
    else:
        sets, missing = open_evaluation_sets(args.dataset, args.root), []
    shards = Shards()
    try:
        results = _measure(args, sets, scores, shards, missing)
    finally:
        shards.close()
    if not shards.is_first:
        return 0
    for line in missing:
        print(f"skipped: {line}", file=sys.stderr)
    if table:
        text, rows = format_paper_table(table, results), paper_table_csv(table, results)
        figures: object = {"table": table.number, "skipped": missing, "results": [item.to_dict() for item in results]}
    elif len(sets) > 1:
        text, rows = "\n\n".join(map(format_result, results)), "\n".join(map(to_csv, results))
        figures = {"skipped": missing, "results": [item.to_dict() for item in results]}
    else:
        text, rows, figures = format_result(results[0]), to_csv(results[0]), results[0].to_dict()
    _publish(args, results, text, rows, figures)
    if args.card:
        path = _write_to_card(args, results)
        print(f"{path}: figures of {', '.join(result.dataset for result in results)}")
    return 0


def _measure(
    args: argparse.Namespace,
    sets: dict[str, EvaluationSet],
    scores: list[str],
    shards: Shards,
    missing: list[str],
) -> list[EvaluationResult]:
    """Measures the data sets one after another; of several, one without a usable frame joins the missing."""
    segmenter = open_segmenter(args, str(process_device(args.device, shards)))
    threshold = _threshold(args.threshold, segmenter.card)
    model_scores = _model_scores(args, scores, segmenter)
    results = []
    for name, dataset in sets.items():
        try:
            result = evaluate(
                dataset,
                name,
                segmenter,
                scores,
                limit=args.limit,
                edges=_edges(args.bins, name),
                shards=shards,
                pictures=args.report is not None,
                model_scores=model_scores,
                threshold=threshold,
            )
        except InputError as error:
            if len(sets) == 1:
                raise
            missing.append(f"{name}: {error}")
            continue
        results.append(result)
    if not results:
        raise InputError(f"{args.root}: none of the data sets could be evaluated; {missing[-1]}")
    return results


def _threshold(text: str | None, card: ModelCard) -> float | None:
    """Reads a number, or looks up a name in the model's card; "default" is the one that the node takes."""
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        return card.threshold(None if text == "default" else text)
    if not math.isfinite(value):
        raise InputError(f"--threshold {text}: give a finite number of nats, or a name in the model card")
    return value


def _model_scores(args: argparse.Namespace, names: list[str], segmenter: Segmenter) -> dict[str, ModelScore]:
    """Builds the scores that need the model and fits those that need it."""
    for name in names:
        if name not in SCORES and name not in MODEL_SCORES:
            raise InputError(f"--scores {name}: unknown; choose from {', '.join((*SCORES, *MODEL_SCORES))}")
    built = build_model_scores(names)
    needing = [name for name, score in built.items() if score.needs_fit]
    if needing:
        if not (args.fit_dataset and args.fit_root):
            raise InputError(f"--scores {needing[0]}: needs training frames; give --fit-dataset and --fit-root")
        dataset = open_evaluation_set(args.fit_dataset, args.fit_root)
        indices = spread(len(dataset), args.fit_frames)
        fit_scores(built, collect_pixels(segmenter, dataset, indices))
    return built


def _edges(text: str | None, dataset: str) -> tuple[float, ...]:
    by_distance = dataset in PROTOCOLS and PROTOCOLS[dataset].distances
    return distance_edges(text) if text is not None or by_distance else ()


def _write_to_card(args: argparse.Namespace, results: Sequence[EvaluationResult]) -> Path:
    """Adds to the card the figures of each data set in percent, with the command; those of other sets stay."""
    path = model_path(args.model).with_suffix(".yaml")
    card = read_card(path)
    figures = card.details.setdefault("figures", {})
    for result in results:
        figures[result.dataset] = _card_figures(args, result)
    write_card(path, card)
    return path


def _card_figures(args: argparse.Namespace, result: EvaluationResult) -> dict[str, object]:
    options = segmenter_options(args)
    options += f" --limit {args.limit}" if args.limit else ""
    command = f"densehybrid evaluate --model {Path(args.model).stem} --dataset {result.dataset}"
    entry: dict[str, object] = {"command": f"{command} --root {result.dataset}{options}", "frames": result.frames}
    for score, metrics in result.pixel.items():
        rates = {"ap": metrics.average_precision, "fpr95": metrics.fpr95, "auroc": metrics.auroc}
        if any(math.isnan(value) for value in rates.values()):
            raise InputError(
                f"--card: {score} has no AP on {result.dataset}, which needs pixels of both kinds; leave --card out"
            )
        entry[score] = {name: round(100 * value, 2) for name, value in rates.items()}
    if not math.isnan(result.mean_iou):
        entry["mean_iou"] = round(100 * result.mean_iou, 2)
    return entry


def _publish(
    args: argparse.Namespace, results: Sequence[EvaluationResult], text: str, rows: str, figures: object
) -> None:
    for result in results:
        for reason in result.left_out:
            print(f"left out: {reason}", file=sys.stderr)
    print(text)
    if args.json:
        write_text_atomically(args.json, json.dumps(figures, indent=2, allow_nan=False) + "\n")
    if args.csv:
        write_text_atomically(args.csv, rows)
    if args.report:
        write_report(args.report, results)
        print(f"report: {args.report / 'report.html'}")
