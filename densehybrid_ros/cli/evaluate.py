# SPDX-License-Identifier: Apache-2.0
"""``densehybrid evaluate``: a model's figures on a data set or for a table of the paper, beside the published ones."""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from densehybrid_ros.cli.measuring import (
    add_stage_options,
    configure_segmenter,
    distance_edges,
    open_segmenter,
    segmenter_options,
    still_stage,
)
from densehybrid_ros.cli.options import add_json, add_report, count, output_file, several, threshold
from densehybrid_ros.datasets.labelled_set import LabelledSet
from densehybrid_ros.datasets.registry import EVALUATION_SETS, open_evaluation_set, open_evaluation_sets
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.dense_scores import HYBRID, ROAD_HAZARD, ROAD_PRIOR, FrameScorer, Scorer, spread
from densehybrid_ros.evaluation.evaluate import evaluate
from densehybrid_ros.evaluation.froc import StillStage
from densehybrid_ros.evaluation.protocols import protocol_of
from densehybrid_ros.evaluation.report import write_report
from densehybrid_ros.evaluation.results import EvaluationResult, format_result, to_csv
from densehybrid_ros.evaluation.score_maps import SUFFIXES, ScoreMaps
from densehybrid_ros.files import write_text_atomically
from densehybrid_ros.inference import Segmenter
from densehybrid_ros.networks import model_path, read_card, write_card
from densehybrid_ros.research.baselines import BASELINE_SCORES
from densehybrid_ros.research.model_score import Score, collect_pixels
from densehybrid_ros.research.model_scores import FITTED_SCORES, MODEL_SCORES
from densehybrid_ros.research.paper_tables import (
    PAPER_TABLES,
    format_paper_table,
    open_parts,
    page_table,
    paper_table_csv,
)

_EXAMPLE = """examples:
  densehybrid evaluate --dataset road_obstacle21_val --root /data/road_obstacle21_val --model light
  densehybrid evaluate --dataset cityscapes_640 --root /data/cityscapes_640 --model runs/light.safetensors
  densehybrid evaluate --dataset road_anomaly21_val,road_obstacle21_val --root /data --model light,ldn121
  densehybrid evaluate --dataset folder --root DIR --model light --threshold default,20
  densehybrid evaluate --dataset cityscapes_640 --root /data/cityscapes_640 --model light --hazards --report seen
  densehybrid evaluate --dataset road_anomaly --root DIR --score-maps maps --name mine
  densehybrid evaluate --table 2 --root /data --model light  # /data/road_anomaly, /data/fishyscapes_static, ..."""
_BASIC_SCORES = (HYBRID, "posterior", "likelihood", "max_softmax", "max_logit")
_KNOWN_SCORES = (*_BASIC_SCORES, *BASELINE_SCORES, ROAD_HAZARD, *MODEL_SCORES, *FITTED_SCORES)


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.epilog = _EXAMPLE
    what = parser.add_mutually_exclusive_group(required=True)
    known = ", ".join(EVALUATION_SETS)
    what.add_argument("--dataset", metavar="NAME[,NAME...]", help=f"{known}; or several of them, separated by commas")
    text = "a table of the paper: all of its data sets that are there (7, speeds: densehybrid benchmark engine)"
    what.add_argument("--table", type=int, choices=tuple(PAPER_TABLES), help=text)
    text = "folder of the data set; with several, or --table, that of the data sets, each in a folder of its name"
    parser.add_argument("--root", type=Path, metavar="DIR", help=text)
    configure_segmenter(parser, several=True)
    others = parser.add_argument_group("scores of others, in the place of a model")
    text = f"one map a frame, named like it ({', '.join(SUFFIXES)}), in any folder below; higher = more anomalous"
    others.add_argument("--score-maps", type=Path, metavar="DIR", help=text)
    others.add_argument("--name", help="of their row (default: the folder's)")
    text = f"any of {', '.join(_KNOWN_SCORES)} (default: the basic five, or those of the table); {ROAD_HAZARD} is "
    text += f"{HYBRID}, {ROAD_PRIOR:g} nats lower away from the ground"
    parser.add_argument("--scores", help=text)
    fitted = ", ".join(FITTED_SCORES)
    parser.add_argument("--fit-dataset", metavar="NAME", help=f"training frames, which {fitted} need")
    parser.add_argument("--fit-root", type=Path, metavar="DIR", help="folder of the training frames")
    parser.add_argument("--fit-frames", type=count, default=100, metavar="N", help="how many of them (default: 100)")
    text = "figures at these thresholds of the hybrid score: numbers, or names in the model card, such as default; "
    text += "its components and pictures are those of the first (default: that of its best pixel F1)"
    parser.add_argument("--threshold", type=several(threshold), default=[], metavar="NATS|NAME,...", help=text)
    hazards = parser.add_argument_group("hazards")
    text = "send every frame, alone, through the node's hazard stage at many thresholds: obstacles found over false "
    text += "hazards a frame (FROC), by area and distance, and at the card's default threshold"
    hazards.add_argument("--hazards", action="store_true", help=text)
    add_stage_options(hazards)
    parser.add_argument("--bins", help="edges of distance bins in metres, as 5,10,15 (default: LostAndFound's)")
    parser.add_argument("--limit", type=count, metavar="N", help="evenly spread subset of at most this many frames")
    add_json(parser)
    parser.add_argument("--csv", type=output_file, help="file for the table")
    parser.add_argument("--card", action="store_true", help="write the figures into the model's card, too")
    add_report(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluates and prints."""
    args.model = [name for text in args.model for name in text.split(",") if name]
    _check(args)
    table = PAPER_TABLES.get(args.table)
    distance_edges(args.bins)  # wrong ones end the command before any work
    sets, missing = open_parts(table, args.root) if table else (open_evaluation_sets(args.dataset, args.root), [])
    by_model = _measure(args, sets, missing)
    results = [result for found in by_model.values() for result in found]
    told = [f"skipped: {line}" for line in missing]
    told += [f"left out: {reason}" for result in results for reason in result.left_out]
    for line in told:
        print(line, file=sys.stderr)
    figures: dict[str, object] = {"skipped": missing, "results": [result.to_dict() for result in results]}
    if table:
        text, rows = format_paper_table(table, results), paper_table_csv(table, results)
        figures = {"table": table.number, **figures}
    else:
        text, rows = "\n\n".join(map(format_result, results)), "\n".join(map(to_csv, results))
        figures = results[0].to_dict() if len(results) == 1 else figures
    print(text)
    if args.json:
        args.json.write(figures)
    if args.csv:
        write_text_atomically(args.csv, rows)
    if args.report:
        write_report(args.report, results, page_table(table, results) if table else None)
        print(f"report: {args.report / 'report.html'}")
    if args.card:
        for model, found in by_model.items():
            path = _write_to_card(args, model, found)
            print(f"{path}: figures of {', '.join(result.dataset for result in found)}")
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuses what does not fit together, before any work."""
    if args.ego_mask and not args.hazards:
        raise InputError("--ego-mask: is for --hazards; add it")
    if args.hazards and args.table:
        raise InputError("--hazards: is for --dataset; the paper's tables have no hazards")
    if args.root is None:
        raise InputError("--root: missing; name the folder of the data set")
    if args.score_maps is None:
        if not args.model:
            raise InputError("--model: missing; name a model, or the --score-maps of others")
        if args.name:
            raise InputError("--name: is for --score-maps; leave it out")
        for option in ("threshold", "hazards"):
            if getattr(args, option) and HYBRID not in _scores(args):
                raise InputError(f"--{option}: is for the {HYBRID} score; add it to --scores")
        return
    for option in ("model", "scores", "card", "hazards"):
        if getattr(args, option):
            raise InputError(f"--{option}: --score-maps loads no model; leave one of the two out")
    if names := [item for item in args.threshold if isinstance(item, str)]:
        raise InputError(f"--threshold {names[0]}: score maps have no model card; give numbers")


def _scores(args: argparse.Namespace) -> list[str]:
    usual = PAPER_TABLES[args.table].scores if args.table else _BASIC_SCORES
    scores = [name for name in args.scores.split(",") if name] if args.scores else list(usual)
    if not scores:
        raise InputError(f"--scores {args.scores}: names none; leave it out for the usual ones")
    return scores


def _measure(
    args: argparse.Namespace, sets: dict[str, LabelledSet], missing: list[str]
) -> dict[str, list[EvaluationResult]]:
    """Measures each model on one data set after another; of several, one without a usable frame joins the missing.

    Returns:
        Model as it was named, or the row of score maps -> its results.
    """
    found: dict[str, list[EvaluationResult]] = {}
    for row, scorers, values, stage in _scorers(args, sets):
        found[row] = []
        for name, dataset in sets.items():
            edges = distance_edges(args.bins) if args.bins or protocol_of(name).distances else ()
            how = {"limit": args.limit, "edges": edges, "pictures": args.report is not None}
            try:
                found[row].append(evaluate(dataset, name, scorers[name], **how, thresholds=values, stage=stage))
            except InputError as error:
                if len(sets) == 1:
                    raise
                if (line := f"{name}: {error}") not in missing:
                    missing.append(line)
        if not found[row]:
            raise InputError(f"{args.root}: none of the data sets could be evaluated; {missing[-1]}")
    return found


def _scorers(
    args: argparse.Namespace, sets: dict[str, LabelledSet]
) -> Iterator[tuple[str, Mapping[str, Scorer], list[float], StillStage | None]]:
    """Yields each model, or the row of score maps: what scores each data set, thresholds in nats, the hazard stage."""
    if args.score_maps is not None:
        row = args.name or args.score_maps.resolve().name
        maps = {
            name: ScoreMaps(args.score_maps, row, dataset, spread(len(dataset), args.limit))
            for name, dataset in sets.items()
        }
        yield row, maps, args.threshold, None
        return
    names, models = _scores(args), dict.fromkeys(args.model)
    named_alike = Counter(read_card(model_path(model).with_suffix(".yaml")).name for model in models)
    for model in models:
        segmenter = open_segmenter(args, args.device, model)
        card, stage = segmenter.card, None
        values = [card.threshold(item) for item in args.threshold]
        if args.hazards:
            named = {str(item): value for item, value in zip(args.threshold, values, strict=True)}
            named |= {"default": card.threshold()} if card.default_threshold else {}
            stage = still_stage(args, card, named)
        scorer = FrameScorer(segmenter, names, _model_scores(args, names, segmenter))
        if named_alike[card.name] > 1:  # runs of one recipe
            scorer.name = model
        yield model, dict.fromkeys(sets, scorer), values, stage


def _model_scores(args: argparse.Namespace, names: list[str], segmenter: Segmenter) -> dict[str, Score]:
    """Builds the scores that need the model and fits those that need it."""
    for name in names:
        if name not in _KNOWN_SCORES:
            raise InputError(f"--scores {name}: unknown; choose from {', '.join(_KNOWN_SCORES)}")
    built = {name: MODEL_SCORES[name] for name in names if name in MODEL_SCORES}
    needing = [name for name in names if name in FITTED_SCORES]
    if needing:
        if not (args.fit_dataset and args.fit_root):
            raise InputError(f"--scores {needing[0]}: needs training frames; give --fit-dataset and --fit-root")
        dataset = open_evaluation_set(args.fit_dataset, args.fit_root)
        pixels = collect_pixels(segmenter, dataset, spread(len(dataset), args.fit_frames))
        built |= {name: FITTED_SCORES[name](pixels) for name in needing}
    return built


def _write_to_card(args: argparse.Namespace, model: str, results: Sequence[EvaluationResult]) -> Path:
    """Adds to the card the figures of each data set in percent, with the command; those of other sets stay."""
    path = model_path(model).with_suffix(".yaml")
    card = read_card(path)
    options = segmenter_options(args) + (f" --limit {args.limit}" if args.limit else "")
    for result in results:
        data = f"--dataset {result.dataset} --root {result.dataset}"
        command = f"densehybrid evaluate --model {Path(model).stem} {data}{options}"
        entry: dict[str, object] = {"command": command, "frames": result.frames}
        for score, metrics in result.pixel.items():
            rates = {"ap": metrics.average_precision, "fpr95": metrics.fpr95, "auroc": metrics.auroc}
            if any(math.isnan(value) for value in rates.values()):
                lacking = f"{score} has no AP on {result.dataset}, which needs pixels of both kinds"
                raise InputError(f"--card: {lacking}; leave --card out")
            entry[score] = {name: round(100 * value, 2) for name, value in rates.items()}
        if not math.isnan(result.mean_iou):
            entry["mean_iou"] = round(100 * result.mean_iou, 2)
        card.details.setdefault("figures", {})[result.dataset] = entry
    write_card(path, card)
    return path
