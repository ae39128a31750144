# SPDX-License-Identifier: Apache-2.0
"""``densehybrid import``: published weights into a model with its card, to evaluate or to start a training from."""

from __future__ import annotations

import argparse
from pathlib import Path

from densehybrid_ros.cli.options import add_json, check_model_output, output_file
from densehybrid_ros.datasets.taxonomy import CLASS_TABLES, SemanticClass
from densehybrid_ros.errors import InputError
from densehybrid_ros.files import file_digest
from densehybrid_ros.networks import ModelCard, save_model
from densehybrid_ros.research.published_weights import FORMATS, ImportedModel, count_classes, import_weights, read_state

_EXAMPLE = """example:
  densehybrid import --format nvidia_deeplab cityscapes_best.pth --output models/deeplab_wrn38.safetensors \\
      --terms "NVIDIA's weights, trained on Cityscapes: research only"
  densehybrid import --format torchvision_densenet121 densenet121.pth --output models/densenet121.safetensors \\
      --terms "BSD-3-Clause; trained on ImageNet: research only"
formats:
"""
_UNTRAINED = {"open_set": "nothing", "closed_set": "the dataset-posterior head", "encoder": "all but the encoder"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.epilog = _EXAMPLE + "\n".join(f"  {name}: {kind.description}" for name, kind in FORMATS.items())
    parser.add_argument("file", type=Path, metavar="FILE", help="the published file (.pth)")
    parser.add_argument("--format", choices=list(FORMATS), required=True, help="whose file it is")
    text = ".safetensors file to write; its card beside it"
    parser.add_argument("--output", type=output_file, required=True, help=text)
    parser.add_argument("--terms", required=True, help="terms of use of the weights, for the model card")
    text = "class table (default: the one with the file's number of classes)"
    parser.add_argument("--classes", choices=list(CLASS_TABLES), help=text)
    parser.add_argument("--half", action="store_true", help="store convolutions as float16, half the size")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Imports and saves."""
    check_model_output(args.output)
    classes = _classes(args.classes, args.format, args.file)
    model = import_weights(args.format, args.file, len(classes))
    save_model(args.output, model.network, _card(args, model, classes), half=args.half)
    if args.json:
        about = {"output": str(args.output), "architecture": model.architecture, "classes": model.num_classes}
        args.json.write(about | {"stage": model.stage, "random": _UNTRAINED[model.stage]})
    print(
        f"{args.output}: {model.architecture}, {model.num_classes} classes; random: {_UNTRAINED[model.stage]}; "
        f"thresholds and figures are to be measured"
    )
    return 0


def _classes(name: str | None, format_name: str, file: Path) -> tuple[SemanticClass, ...]:
    if name is not None:
        return CLASS_TABLES[name]
    count = count_classes(format_name, read_state(file, format_name))
    if count is None:
        return CLASS_TABLES["cityscapes"]
    fitting = [table for table in CLASS_TABLES.values() if len(table) == count]
    if not fitting:
        sizes = ", ".join(f"{key} {len(table)}" for key, table in CLASS_TABLES.items())
        raise InputError(f"{file}: {count} classes, for which there is no table ({sizes})")
    return fitting[0]


def _card(args: argparse.Namespace, model: ImportedModel, classes: tuple[SemanticClass, ...]) -> ModelCard:
    source = {"format": args.format, "file": args.file.name, "sha256": file_digest(args.file)}
    stage = {"stage": model.stage, "imported": source, "random": _UNTRAINED[model.stage]}
    details = {"terms": args.terms, "training": [stage]}
    return ModelCard(args.output.stem, model.architecture, classes, details=details)
