# SPDX-License-Identifier: Apache-2.0
"""One process of runs on tiny frames, for test_distributed.py: ``ddp_run.py FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from tiny import CPU, TinyNetwork, colored_store, settings, trainer

from densehybrid_ros.training.config import NegativesConfig
from densehybrid_ros.training.crops import CropConfig
from densehybrid_ros.training.distributed import Processes, join

KINDS: dict[str, dict[str, Any]] = {
    "closed_set": {},
    "joint": {"stage": "open_set", "negatives": NegativesConfig(source="flow")},
    "flow": {"stage": "flow", "learning_rate": 1e-3},
}


def without_norm() -> TinyNetwork:
    """A network that has no statistics of its process's own crops."""
    network = TinyNetwork()
    network.encoder[1] = torch.nn.Identity()
    return network


def trained_state(kind: str, folder: Path, processes: Processes) -> dict[str, Any]:
    """Trains for four steps; there is no void anywhere, so that the mean over processes is that over the batch."""
    store = colored_store()
    store.labels[store.labels == 2] = 1
    crops = CropConfig(height=32, width=32, scale=(1.0, 2.0))
    run = trainer(
        settings(steps=4, batch_size=8, crops=crops, **KINDS[kind]),
        folder / "run",
        store,
        processes,
        validate=lambda model: {"mean_iou": 1.0},
        network=without_norm if kind == "closed_set" else TinyNetwork,
    )
    run.run()
    return run.task.state_dict()


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    processes, _ = join(CPU)
    torch.manual_seed(processes.rank)  # whatever differs between processes must not matter
    for kind in KINDS:
        torch.save(trained_state(kind, folder, processes), folder / f"{kind}_{processes.rank}.pt")
    processes.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
