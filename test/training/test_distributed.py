# SPDX-License-Identifier: Apache-2.0
"""Two real processes on one run: they stay in step, and do what one process does with the whole batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ddp_run import KINDS, trained_state

from densehybrid_ros.errors import InputError
from densehybrid_ros.training.distributed import Processes

SCRIPT = Path(__file__).with_name("ddp_run.py")


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Kind of run -> the state of each of two processes after it."""
    folder = tmp_path_factory.mktemp("processes")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [*torchrun, str(SCRIPT), str(folder)]
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
