# SPDX-License-Identifier: Apache-2.0
"""The paper's table of speeds, ours measured on this machine, for ``densehybrid evaluate --table 7``."""

from __future__ import annotations

import argparse
import sys

import torch

from densehybrid_ros.evaluation.text_tables import Group, format_groups
from densehybrid_ros.inference.backends import choose_device, device_name
from densehybrid_ros.inference.cost import network_cost
from densehybrid_ros.inference.engine_rows import Row, cpu_rows, gpu_rows
from densehybrid_ros.inference.engines import Report
from densehybrid_ros.inference.input_policy import size_text
from densehybrid_ros.networks import LoadedModel, load_model
from densehybrid_ros.progress import steps

SPEED_TABLE = 7
_SIZE, _REPEATS, _CPU_REPEATS = (1024, 2048), 200, 3
_PUBLISHED: tuple[Group, ...] = (
    (
        "paper, table 7, with image resynthesis",
        [("SynBoost", ["1055.5", "<1", "-"]), ("SynthCP", ["146.9", "<1", "4551.1"])],
    ),
    (
        "paper, table 7, without",
        [
            ("LDN-121", ["60.9", "16.4", "202.3"]),
            ("LDN-121 + SML", ["75.4", "13.3", "202.6"]),
            ("LDN-121 + DenseHybrid", ["63.7", "15.7", "202.4"]),
        ],
    ),
)


def run_speed_table(args: argparse.Namespace) -> int:
    """Measures the models (those shipped unless others are named), prints the table and writes ``--json``."""
    device = choose_device(args.device)
    names = [name for text in args.model for name in text.split(",") if name] or ["ldn121", "light"]
    models = [load_model(name) for name in names]
    with steps(f"table {SPEED_TABLE}") as report:
        rows = [row for model in models for row in _rows(model, device, report)]
    measured = [(row.name, _cells(row)) for row in rows if row.milliseconds]
    where = f"measured on {device_name(device)}"
    print(f"table {SPEED_TABLE}: speed on frames of two megapixels ({size_text(_SIZE)}), one at a time\n")
    print(format_groups("method", [("", ("ms", "FPS", "GFLOPs"))], [(where, measured), *_PUBLISHED]))
    print("-: the paper gives no figure, or it is not counted here; published ones are of an RTX 3090, 200 runs")
    for row in rows:
        if row.problem:
            print(f"not measured: {row.name}: {row.problem}", file=sys.stderr)
    if args.json:
        results = [{"method": row.name, **row.values, "milliseconds": row.milliseconds} for row in rows]
        args.json.write({"table": SPEED_TABLE, "device": device_name(device), "results": results})
    return 0


def _rows(model: LoadedModel, device: torch.device, report: Report) -> list[Row]:
    """On a GPU the fastest engine and its closed set, on the CPU all rows; with the work of the open-set model."""
    if device.type != "cuda":
        rows = cpu_rows(model, _SIZE, _CPU_REPEATS, build=False, report=report)
        gflops = network_cost(model.network, _SIZE, torch.float32).flops / 1e9
        for row in rows:
            row.values["gflop"] = gflops
        return rows
    rows = [row for row in gpu_rows(model, device, _SIZE, _REPEATS, report=report) if row.milliseconds]
    fastest = sorted((row for row in rows if "gflop" in row.values), key=lambda row: row.values["device_ms"])[:1]
    return [*fastest, *(row for row in rows if "open_set_ms" in row.values)]


def _cells(row: Row) -> list[str]:
    assert row.milliseconds is not None
    gflops = f"{row.values['gflop']:.1f}" if "gflop" in row.values else "-"
    return [f"{row.milliseconds:.1f}", f"{1000 / row.milliseconds:.1f}", gflops]
