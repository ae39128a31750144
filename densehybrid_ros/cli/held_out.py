"""What commands share that choose something of a model on held-out data: options, and a table of scores by data set."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from densehybrid_ros.cli.options import count, output_file, size
from densehybrid_ros.datasets.registry import EVALUATION_SETS
from densehybrid_ros.evaluation.curves import CurveMetrics


def add_options(parser: argparse.ArgumentParser, written: str) -> None:
    """Adds model, data and output.

    Args:
        parser: The command's.
        written: What the model has that ``--output`` writes, in words.
    """
    parser.add_argument("--model", required=True, help="a shipped model's name or a .safetensors file")
    parser.add_argument(
        "--dataset",
        required=True,
        metavar="NAME[,NAME...]",
        help=f"several lie below ROOT: {', '.join(EVALUATION_SETS)}",
    )
    parser.add_argument("--root", type=Path, required=True, help="folder of the held-out data")
    parser.add_argument("--output", type=output_file, help=f".safetensors file for the model with {written}")
    parser.add_argument("--size", type=size, metavar="WxH", help="size of the network's input (default: the images')")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--limit", type=count, metavar="N", help="evenly spread subset of at most this many frames")


def comparison(found: Mapping[str, Mapping[str, CurveMetrics]]) -> str:
    """A table of AP and FPR95, a row for each score.

    Args:
        found: Data set -> score -> its figures; the same scores everywhere.
    """
    names = list(next(iter(found.values())))
    width = max(len(name) for name in (*names, "AP / FPR95 [%]"))
    lines = ["  ".join(["AP / FPR95 [%]".ljust(width), *(f"{name:>20}" for name in found), f"{'mean AP':>8}"])]
    for name in names:
        figures = [each[name] for each in found.values()]
        cells = [f"{100 * each.average_precision:.2f} / {100 * each.fpr95:.2f}" for each in figures]
        mean = 100 * sum(each.average_precision for each in figures) / len(figures)
        lines.append("  ".join([name.ljust(width), *(f"{cell:>20}" for cell in cells), f"{mean:8.2f}"]))
    return "\n".join(lines)


def is_above(found: Mapping[str, Mapping[str, CurveMetrics]], best: str, others: Sequence[str]) -> bool:
    """Whether the AP of one score is above that of all others on every data set."""
    return all(
        figures[best].average_precision > figures[other].average_precision
        for figures in found.values()
        for other in others
    )
