# SPDX-License-Identifier: Apache-2.0
"""Loading a compiled engine in a process of its own first: what it does to that one, it must not do to a node."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import torch

from densehybrid_ros.processes import ends_with_this_process

_PROGRAM = """
import sys, torch
torch._inductor.aoti_load_package(sys.argv[1], run_single_threaded=True, device_index=int(sys.argv[2]))
"""


def fatal_problem(path: Path, device_index: int, program: str = _PROGRAM) -> str | None:
    """Says how an engine of AOTInductor ends the process that loads it; None where it does not.

    An engine that loads with an error like any other is no matter of this: whoever loads it meets that error.

    Args:
        path: The ``.pt2`` file.
        device_index: Number of the GPU; -1 on a CPU.
        program: What the process runs.
    """
    command = ends_with_this_process([sys.executable, "-c", program, str(path), str(device_index)])
    status = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode
    if status >= 0:
        return None
    return f"torch {torch.__version__} ends with {signal.Signals(-status).name} where it loads the engine it compiled"
