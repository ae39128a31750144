# SPDX-License-Identifier: Apache-2.0
"""What the measuring commands share: how model and hazard stage run, and distance bins, from options."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

from densehybrid_ros.cli.options import count, size
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.distances import DEFAULT_EDGES
from densehybrid_ros.evaluation.froc import StillStage
from densehybrid_ros.hazards.chain import HazardChain
from densehybrid_ros.hazards.ego_mask import read_ego_mask
from densehybrid_ros.inference import BACKENDS, INPUT_POLICIES, Segmenter
from densehybrid_ros.inference.engines import PRECISIONS
from densehybrid_ros.networks import ModelCard
from densehybrid_ros.perception import perception
from densehybrid_ros.perception.settings import Settings


def configure_segmenter(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """Adds the options of ``open_segmenter``, with the defaults of a drive; ``several``: any number of models."""
    model = "a shipped model's name or a .safetensors file"
    if several:
        model += "; several: with commas between them, or the option again"
        parser.add_argument("--model", action="append", default=[], metavar="MODEL[,MODEL...]", help=model)
    else:
        parser.add_argument("--model", required=True, help=model)
    how = parser.add_argument_group("how the model runs (as the node's parameters of these names)")
    how.add_argument("--backend", choices=BACKENDS, default="auto", help="default: auto")
    how.add_argument("--precision", choices=("auto", *PRECISIONS), default="auto", help="default: auto")
    how.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    policies = f"{', '.join(INPUT_POLICIES)} (default: exact, with --size resize)"
    how.add_argument("--input-policy", metavar="POLICY", help=policies)
    how.add_argument("--size", type=size, metavar="WxH", help="size of the network's input (default: the images')")


def open_segmenter(args: argparse.Namespace, device: str, model: str | None = None) -> Segmenter:
    """Opens the model (None: that of the arguments) as a drive would.

    Raises:
        InputError: The model is not there, can't run so, or the options contradict each other.
    """
    policy = args.input_policy or ("resize" if args.size else "exact")
    if args.size and policy == "exact":
        raise InputError("--size: --input-policy exact leaves images their size; leave one of the two out")
    how = {"backend": args.backend, "precision": args.precision, "device": device, "input_policy": policy}
    settings = Settings(model=model or args.model, input_size=args.size or (0, 0), **how)
    # Frames of a data set may differ in size; the result says what ran them.
    return perception.open_segmenter(settings, warn=lambda text: None)


def add_stage_options(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Adds the options of ``still_stage``."""
    text = "pixels of the smallest labelled obstacle (default: 50)"
    parser.add_argument("--min-area", type=count, metavar="N", default=50, help=text)
    parser.add_argument("--ego-mask", metavar="FILE", default="", help="as the node's parameter ego_mask")


def still_stage(args: argparse.Namespace, card: ModelCard, named: Mapping[str, float] | None = None) -> StillStage:
    """Builds the hazard stage of single frames, with the defaults of the node's parameters.

    Raises:
        InputError: The ego mask can't be read.
    """
    try:
        mask = read_ego_mask(args.ego_mask)
    except InputError as error:
        raise InputError(f"--ego-mask {error}") from error
    chain = HazardChain(card.classes, card.confidence, card.region_classifier)
    return StillStage(chain, replace(Settings().hazards, ego_mask=mask), args.min_area, named or {})


def segmenter_options(args: argparse.Namespace) -> str:
    """Writes those options down that were given; empty for the defaults."""
    given = {
        "--backend": args.backend != "auto" and args.backend,
        "--precision": args.precision != "auto" and args.precision,
        "--input-policy": args.input_policy,
        "--size": args.size and "{}x{}".format(*args.size),
    }
    return "".join(f" {name} {value}" for name, value in given.items() if value)


def distance_edges(text: str | None) -> tuple[float, ...]:
    """Reads the edges of distance bins in metres, as ``5,10,15``; LostAndFound's where nothing is given.

    Raises:
        InputError: They are no numbers, fewer than two, or do not rise.
    """
    if text is None:
        return DEFAULT_EDGES
    with suppress(ValueError):
        edges = tuple(float(part) for part in text.split(","))
        if len(edges) > 1 and all(low < high for low, high in pairwise(edges)):
            return edges
    raise InputError(f"--bins {text}: write rising distances in metres, such as 5,10,15")
