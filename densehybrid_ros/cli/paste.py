# SPDX-License-Identifier: Apache-2.0
"""``densehybrid paste``: labelled frames with cut-outs on the road, a data set to develop on."""

from __future__ import annotations

import argparse
from pathlib import Path

from densehybrid_ros.cli.options import add_json, count, output_folder, seed, share
from densehybrid_ros.datasets.negative_sets import load_cutouts
from densehybrid_ros.datasets.registry import TRAINING_SETS, open_training_set
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.pasted_set import write_pasted_set

_EXAMPLE = """examples:
  densehybrid paste --dataset cityscapes_640 --root /data/cityscapes_640 --cutouts unseen/ --output pasted
  densehybrid evaluate --dataset folder --root pasted --model light"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.epilog = _EXAMPLE
    parser.add_argument("--dataset", choices=TRAINING_SETS, required=True, help="whose validation frames are taken")
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="folder of the data set")
    text = "folders of pictures with an alpha channel, which no training has seen"
    parser.add_argument("--cutouts", type=Path, nargs="+", required=True, metavar="DIR", help=text)
    text = "folder of the new set; must not exist"
    parser.add_argument("--output", type=output_folder, required=True, metavar="DIR", help=text)
    parser.add_argument("--frames", type=count, default=100, metavar="N", help="evenly spread frames (100)")
    parser.add_argument("--seed", type=seed, default=7, help="same seed, same set (7)")
    parser.add_argument("--shadows", type=share, default=0.5, metavar="SHARE", help="of the objects have one (0.5)")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Writes the set."""
    output: Path = args.output
    if output.exists():
        raise InputError(f"--output {output}: exists; name a new folder, or remove it")
    frames = open_training_set(args.dataset, args.root, "val").subset(args.frames)
    cutouts = [cutout for folder in args.cutouts for cutout in load_cutouts(folder)]
    written = write_pasted_set(frames, cutouts, output, args.seed, args.shadows)
    left_out = f", {written.left_out} left out without a free place" if written.left_out else ""
    print(f"{output}: {written.objects} objects in {written.frames} frames{left_out}")
    if args.json:
        args.json.write({"output": str(output), **written._asdict()})
    return 0
