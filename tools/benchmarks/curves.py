# SPDX-License-Identifier: Apache-2.0
"""How fast, and in how much memory, exact curves are accumulated; beside scikit-learn, where it is installed.

The scores are normally distributed with the mean and deviation of hybrid scores, 2 % of them anomalous, and come in
frames of 2 megapixels. scikit-learn computes its three figures on the same scores held in memory.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.cli.options import positive
from densehybrid_ros.evaluation.curves import CurveMetrics
from densehybrid_ros.evaluation.pixel_accumulator import PixelAccumulator
from densehybrid_ros.inference.backends import choose_device
from running import run_benchmark, wait_for

_FRAME = 2_000_000
_ANOMALOUS = 0.02
_MEAN, _DEVIATION, _SHIFT = -12.0, 3.0, 4.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.epilog = "example:\n  python tools/benchmarks/curves.py --pixels 1e8 --reference"
    parser.add_argument("--pixels", type=positive, default=1e7, metavar="N", help="pixels in all (default: 1e7)")
    parser.add_argument("--device", default="cpu", help="where the scores lie (default: cpu)")
    parser.add_argument("--reference", action="store_true", help="time scikit-learn on the same scores as well")


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Measures and returns the figures and the text to print."""
    device = choose_device(args.device)
    frames = max(1, round(args.pixels / _FRAME))
    accumulator, seconds = PixelAccumulator(), 0.0
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    for scores, labels in _frames(frames):
        if args.reference:
            kept.append((scores.numpy(), labels.numpy()))
        on_device = scores.to(device), labels.to(device)
        wait_for(device)
        began = time.perf_counter()
        accumulator.update(*on_device)
        wait_for(device)
        seconds += time.perf_counter() - began
    began = time.perf_counter()
    metrics = accumulator.compute()
    seconds += time.perf_counter() - began
    total = frames * _FRAME
    figures: dict[str, Any] = {
        "pixels": total,
        "seconds": seconds,
        "nanoseconds_a_pixel": 1e9 * seconds / total,
        "megabytes": accumulator.nbytes / 1e6,
        "threads": torch.get_num_threads(),
    }
    if args.reference:
        figures |= _reference(kept, metrics, seconds)
    return figures, "\n".join(f"{name}: {_text(value)}" for name, value in figures.items())


def _frames(count: int) -> Iterator[tuple[Tensor, Tensor]]:
    rng = np.random.default_rng(0)
    for _ in range(count):
        labels = (rng.random(_FRAME, dtype=np.float32) < _ANOMALOUS).astype(np.uint8)
        scores = rng.standard_normal(_FRAME, dtype=np.float32) * np.float32(_DEVIATION) + np.float32(_MEAN)
        scores += np.float32(_SHIFT) * labels
        yield torch.from_numpy(scores), torch.from_numpy(labels)


def _reference(kept: list[tuple[np.ndarray, np.ndarray]], ours: CurveMetrics, seconds: float) -> dict[str, Any]:
    try:
        from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
    except ImportError:
        return {"scikit_learn": "not installed"}
    scores, labels = (np.concatenate(column) for column in zip(*kept, strict=True))
    began = time.perf_counter()
    average_precision = average_precision_score(labels, scores)
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    fpr95 = fpr[np.argmax(tpr >= 0.95)]
    auroc = roc_auc_score(labels, scores)
    reference = time.perf_counter() - began
    differences = (average_precision - ours.average_precision, fpr95 - ours.fpr95, auroc - ours.auroc)
    return {
        "scikit_learn_seconds": reference,
        "times_faster": reference / seconds,
        "largest_difference": float(np.max(np.abs(differences))),
    }


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(run_benchmark(configure, run))
