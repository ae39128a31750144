"""``densehybrid refine``: short runs from a model, each of which counts as far as held-out data say."""

from __future__ import annotations

import argparse
import copy
import os
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
import yaml

from densehybrid_ros.cli.options import check_model_output, count, not_negative, output_file, positive, shares
from densehybrid_ros.cli.train import portable
from densehybrid_ros.cli.training_data import (
    RunData,
    classes_of,
    mean_iou,
    open_data,
    open_partner,
    open_sets,
    open_teachers,
    segmentation_run,
)
from densehybrid_ros.datasets.evaluation_set import EvaluationFrame, EvaluationSet
from densehybrid_ros.datasets.registry import EVALUATION_SETS, open_evaluation_sets
from densehybrid_ros.datasets.taxonomy import SemanticClass, class_difference
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.balance import balances, make_trainable, measure
from densehybrid_ros.evaluation.dense_scores import FrameScorer, LeftOut, ScoredFrame, read_ahead
from densehybrid_ros.evaluation.levels import PLAIN
from densehybrid_ros.evaluation.thresholds import anomaly_labels
from densehybrid_ros.inference.backends import choose_device, device_name
from densehybrid_ros.networks import DenseHybrid, LoadedModel, ModelCard, load_model, save_model
from densehybrid_ros.training.batches import Source
from densehybrid_ros.training.config import TrainConfig
from densehybrid_ros.training.config_file import read_config
from densehybrid_ros.training.distributed import Processes
from densehybrid_ros.training.refinement import Refinement, mean_figure
from densehybrid_ros.training.teacher import Teachers
from densehybrid_ros.training.trainer import Trainer

_SHARES = "0.5,1"
_CLASSES = "mean_iou"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.epilog = (
        "A round is a run of the configuration from the best model so far, which is its own teacher unless\n"
        "loss.teacher names one. A mean of both is kept if the mean AP of the hybrid score rises (--with-classes:\n"
        "that of AP and mIoU), and the output is written whenever one is. The balance of the posterior and the level\n"
        "of the score stay those of MODEL; while it runs they are taken out. Thresholds and figures are to be\n"
        "measured anew, and the sets chosen by are no longer unseen.\n\nexample:\n"
        "  densehybrid refine --config config/train/light_refine.yaml --model light --rounds 20 --root DATA \\\n"
        "      --dataset road_anomaly21_val,road_obstacle21_val --output runs/refined/light.safetensors \\\n"
        "      data.cityscapes_640=/data/cityscapes_640 negatives.root=/data/negatives"
    )
    parser.add_argument("--config", type=Path, required=True, help="YAML of one round (config/train/*_refine.yaml)")
    parser.add_argument("--model", required=True, help="a shipped model's name or a .safetensors file, to start from")
    parser.add_argument(
        "--dataset", required=True, metavar="NAME[,NAME...]", help=f"to choose by: {', '.join(EVALUATION_SETS)}"
    )
    parser.add_argument("--root", type=Path, required=True, help="folder of that data")
    parser.add_argument("--output", type=output_file, required=True, help=".safetensors file to write")
    parser.add_argument("--rounds", type=count, default=10, metavar="N", help="number of runs (default: 10)")
    parser.add_argument(
        "--shares", metavar="S,S,...", default=_SHARES, help=f"of a run in the mean, within 0..1 ({_SHARES})"
    )
    parser.add_argument("--minutes", type=positive, metavar="M", help="begin no further round after this time")
    parser.add_argument(
        "--miou-loss",
        type=not_negative,
        default=0.5,
        metavar="P",
        help="points of mIoU that may be lost (default: 0.5)",
    )
    parser.add_argument(
        "--with-classes",
        action="store_true",
        help="let the mIoU count among the figures that means are chosen by, as much as the AP of one data set",
    )
    parser.add_argument(
        "--every", type=count, default=2, metavar="N", help="row and column whose pixels are measured (default: 2)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="entries of the YAML to replace")


def run(args: argparse.Namespace) -> int:
    """Runs the rounds; writes the model whenever one has made it better."""
    check_model_output(args.output)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("runs in one process; start several with other seeds, and average what they write")
    wanted = shares(args.shares)
    config = read_config(args.config, args.overrides)
    if config.stage != "open_set":
        raise InputError(f"--config {args.config}: stage={config.stage}; rounds are of stage=open_set")
    started = time.monotonic()
    device = choose_device(args.device)
    opened = open_evaluation_sets(args.dataset, args.root)
    sets = open_sets(config, "train")
    model = _open_model(args.model, config, classes_of(sets))
    # Before the frames, which take their time: a name may be wrong.
    teachers = open_teachers(config, model.card.classes)
    judge = _Judge({name: _frames(each) for name, each in opened.items()}, device, args.every, model.card)
    data = open_data(config, sets, device)
    if args.with_classes:
        if not data.held_out:
            raise InputError("--with-classes: the data have no held-out frames with classes; leave it out")
        judge.classes = data.held_out
    first = model.network.to(device).eval()
    accept = _keeps_classes(first, data, device, args.miou_loss) if data.held_out else None
    refinement = Refinement(first, judge, wanted, accept)
    _tell(refinement)
    kept = 0
    for number in range(1, args.rounds + 1):
        if args.minutes is not None and time.monotonic() - started > 60 * args.minutes:
            break
        this = replace(config, seed=config.seed + number)
        kept += refinement.offer(_round(this, refinement.model, model.card, data, device, teachers)).kept
        _tell(refinement)
        if kept:  # after every round, since the card lists those that were left as well
            _write(args, config, model.card, refinement, (time.monotonic() - started) / 3600, device_name(device))
    if not kept:
        print(f"{args.output}: not written, no round made the model better")
        return 0
    print(
        f"{args.output}: {kept} of {len(refinement.rounds)} rounds kept; thresholds and figures are to be measured anew"
    )
    return 0


def _keeps_classes(
    first: DenseHybrid, data: RunData, device: torch.device, loss: float
) -> Callable[[DenseHybrid], bool]:
    """Whether a model's mIoU is at most some points below that of the first."""

    def measured(model: DenseHybrid) -> float:
        return mean_iou(model, data.held_out, device, Processes())[_CLASSES]

    limit = measured(first) - loss
    return lambda candidate: measured(candidate) >= limit


class _Judge:
    """Measures a model on held-out frames that lie decoded in memory.

    Attributes:
        classes: Frames whose mIoU is a figure as well; none at first.
    """

    classes: Sequence[Source] = ()

    def __init__(
        self, frames: dict[str, list[EvaluationFrame]], device: torch.device, every: int, card: ModelCard
    ) -> None:
        self._frames = frames
        self._device = device
        self._part = (slice(None, None, every),) * 2
        self._card = card

    def __call__(self, model: DenseHybrid) -> dict[str, float]:
        """Returns the AP of the hybrid score in percent, by data set, and the mIoU where there are frames for it."""
        scorer = FrameScorer(_as_used(model, self._card), self._device, [PLAIN])
        found = {}
        for name, frames in self._frames.items():
            scored = (self._scored(scorer, index, frame) for index, frame in enumerate(frames))
            found[name] = round(100 * measure(name, scored, self._device)[PLAIN].average_precision, 3)
        if self.classes:
            found |= mean_iou(model, self.classes, self._device, Processes())
        return found

    def _scored(self, scorer: FrameScorer, index: int, frame: EvaluationFrame) -> ScoredFrame:
        item = scorer(index, frame)
        scores = {name: values[self._part] for name, values in item.scores.items()}
        return replace(item, frame=replace(frame, anomaly=anomaly_labels(frame)[self._part]), scores=scores)


def _open_model(name: str, config: TrainConfig, classes: tuple[SemanticClass, ...]) -> LoadedModel:
    """Loads what the first round starts from, its posterior as it was trained, on no level."""
    model = load_model(name)
    if model.card.architecture != config.architecture:
        raise InputError(f"--model {name}: is {model.card.architecture}, the configuration wants {config.architecture}")
    if difference := class_difference(model.card.classes, classes):
        raise InputError(f"--model {name}: {difference} as the data do")
    make_trainable(model)
    return model


def _as_used(network: DenseHybrid, card: ModelCard) -> DenseHybrid:
    """A copy with the balance of the posterior and the level of the score that the first model had."""
    used = copy.deepcopy(network)
    for balance in balances(card):
        balance.apply(used)
    used.level = card.score_level
    return used


def _frames(dataset: EvaluationSet) -> list[EvaluationFrame]:
    frames = []
    for item in read_ahead(dataset, range(len(dataset))):
        if isinstance(item, LeftOut):
            raise InputError(item.reason)
        frames.append(item)
    return frames


def _round(
    config: TrainConfig,
    model: DenseHybrid,
    card: ModelCard,
    data: RunData,
    device: torch.device,
    teachers: Teachers,
) -> DenseHybrid:
    """Trains a copy of the model for a round; returns the result in evaluation mode."""
    torch.manual_seed(config.seed)
    student = copy.deepcopy(model)
    partner = open_partner(config, device, Processes())  # the flow begins anew as well
    parts = segmentation_run(config, student, card, data, device, Processes(), partner, teachers)
    trained: DenseHybrid = Trainer(config, parts.task, parts.maker).run()
    return trained.eval()


def _write(
    args: argparse.Namespace, config: TrainConfig, card: ModelCard, refinement: Refinement, hours: float, device: str
) -> None:
    """Writes the best model so far."""
    stage: dict[str, Any] = {
        "stage": "refine",
        "command": f"densehybrid refine --config {args.config} --model {Path(args.model).name} --dataset "
        f"{args.dataset} {shlex.join(portable(args.overrides))}".strip(),
        "configuration": yaml.safe_load(args.config.read_text(encoding="utf-8")),
        "seed": config.seed,
        "steps": config.steps,
        "device": device,
        "hours": round(hours, 3),
        "torch": str(torch.__version__),
        "shares": list(refinement.shares),
        "miou_loss": args.miou_loss,
        "chosen_on": list(refinement.figures),
        "rounds": [asdict(each) for each in refinement.rounds],
        "date": datetime.now(timezone.utc).date().isoformat(),
    }
    written = replace(card.after(stage), name=config.name, score_level=card.score_level)
    save_model(args.output, _as_used(refinement.model, card), written)


def _tell(refinement: Refinement) -> None:
    """Prints a line on the last round, or on what there is before the first."""
    last = refinement.rounds[-1] if refinement.rounds else None
    what = f"round {last.number}, share {last.share:g}, {'kept' if last.kept else 'left'}" if last else "start"
    figures = last.figures if last else refinement.figures
    named = {"mIoU" if name == _CLASSES else f"AP {name}": value for name, value in figures.items()}
    values = ", ".join(f"{name} {value:.2f}" for name, value in named.items())
    print(f"{what}: {values}; mean {mean_figure(figures):.2f}, best {mean_figure(refinement.figures):.2f}", flush=True)
