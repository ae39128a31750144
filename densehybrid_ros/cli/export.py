# SPDX-License-Identifier: Apache-2.0
"""``densehybrid export``: a model as one ONNX file, for programs without Python.

Input: image, float32 [1, 3, H, W], RGB in 0..1. Outputs: semantic, uint8 [H, W], class ids; anomaly_score, float32
[H, W], in nats, to be compared with the threshold. Classes, threshold and more are in the file's metadata. It is
compared with eager fp32 by ONNX Runtime before it is written.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from densehybrid_ros.cli.options import count, network_size, output_file
from densehybrid_ros.errors import InputError
from densehybrid_ros.inference.input_policy import size_text
from densehybrid_ros.inference.onnx_export import OPSET, check_packages, export_onnx
from densehybrid_ros.networks import load_model


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.description = __doc__.replace("``", "") if __doc__ else None
    parser.epilog = "example:\n  densehybrid export --model light --size 1024x512 --output light.onnx"
    parser.add_argument("--model", default="light", help="a shipped model's name or a .safetensors file (light)")
    parser.add_argument("--format", choices=["onnx"], default="onnx", help="of the file (onnx)")
    parser.add_argument("--output", type=output_file, required=True, metavar="FILE", help="file to write")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--size", type=network_size, metavar="WxH", help="size of the pictures (the card's size)")
    sizes.add_argument("--dynamic", action="store_true", help="pictures of any size; slower to export and to run")
    parser.add_argument("--opset", type=count, default=OPSET, metavar="N", help=f"of ONNX, at least {OPSET} ({OPSET})")


def run(args: argparse.Namespace) -> int:
    """Writes the file.

    Raises:
        InputError: The model or a package is missing, the model can't be exported so, or the file is not equal to it.
    """
    if args.opset < OPSET:
        raise InputError(f"--opset {args.opset}: is {OPSET} at least")
    check_packages()
    model = load_model(args.model)
    size = None if args.dynamic else args.size or model.card.input_size
    what = f"{model.card.name}, {size_text(size) if size else 'any size'}, opset {args.opset}"
    print(f"export: {what}, takes up to a few minutes", file=sys.stderr, flush=True)
    path = Path(args.output)
    errors = export_onnx(model, path, size, args.opset)
    print(
        f"{path}: {what}, {path.stat().st_size / 1e6:.1f} MB; score off eager fp32 by "
        f"{errors['score_error_max']:.2g} nats at most, classes differ at {errors['classes_differ']:.2%} of pixels"
    )
    return 0
