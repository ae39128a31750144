# SPDX-License-Identifier: Apache-2.0
"""Two real processes on one run: they stay in step, and do what one process does with the whole batch.

torchrun starts this file as a script, with a folder for the states.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import CPU, TinyNetwork, colored_store, settings, trainer

from densehybrid_ros.errors import InputError
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
    config = settings(steps=4, batch_size=8, crops=CropConfig(height=32, width=32, scale=(1.0, 2.0)), **KINDS[kind])
    network = without_norm if kind == "closed_set" else TinyNetwork
    run = trainer(config, folder / "run", store, processes, lambda model: {"mean_iou": 1.0}, network)
    run.run()
    return run.task.state_dict()


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Kind of run -> the state of each of two processes after it."""
    folder = tmp_path_factory.mktemp("processes")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [*torchrun, __file__, str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    return {kind: [torch.load(folder / f"{kind}_{rank}.pt") for rank in range(2)] for kind in KINDS}


def parameters(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Weights of model and flow; statistics of batches are each process's own."""
    found = {f"model.{key}": value for key, value in state["model"].items()}
    if state.get("partner"):
        found |= {f"flow.{key}": value for key, value in state["partner"]["flow"].items()}
    return {key: value for key, value in found.items() if "running_" not in key and "num_batches" not in key}


def test_two_processes_do_what_one_does_with_the_whole_batch(states, tmp_path: Path) -> None:
    alone = parameters(trained_state("closed_set", tmp_path, Processes()))
    together = parameters(states["closed_set"][0])
    for name, value in alone.items():
        torch.testing.assert_close(value, together[name], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_processes_stay_in_step(states, kind: str) -> None:
    first, second = (parameters(state) for state in states[kind])
    assert any(name.startswith("flow.") for name in first) == (kind == "joint")
    assert [name for name, value in first.items() if not torch.equal(value, second[name])] == []


def test_a_batch_that_cannot_be_shared_out_is_named() -> None:
    assert Processes(1, 2).share(12) == 6
    with pytest.raises(InputError, match="batch_size=9: must be a multiple of 2, the number of processes"):
        Processes(0, 2).share(9)


if __name__ == "__main__":
    torch.set_num_threads(1)
    this, _ = join(CPU)
    torch.manual_seed(this.rank)  # whatever differs between processes must not matter
    for each in KINDS:
        torch.save(trained_state(each, Path(sys.argv[1]), this), Path(sys.argv[1]) / f"{each}_{this.rank}.pt")
    this.close()
