# SPDX-License-Identifier: Apache-2.0
"""Several cameras through one node process, and through a process for each: answers, latency and memory."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from densehybrid_ros.demo.latency import ANSWERS, START_SECONDS, LatencyOptions, need_ros, run_peers
from densehybrid_ros.demo.node_process import NodeProcess
from densehybrid_ros.demo.topics import NODE_NAME
from densehybrid_ros.demo.transport import private_domain, tidy_shared_memory, transport_environment

_QUERY = ("nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits")


def measure_cameras(options: LatencyOptions, cameras: int) -> list[dict[str, Any]]:
    """Measures both ways at every rate, with pictures of all cameras at once.

    Returns:
        One row a run: ``subject``, ``rate`` (of each camera), ``answered_hz`` (alerts a second, of all cameras),
        ``memory_mib`` (of the node processes, what they share counted once), ``gpu_memory_mib`` (by which the GPUs'
        used memory has grown; None without nvidia-smi), and the figures of ``latency.run_peers``.

    Raises:
        InputError: ROS is not installed, or one of the processes failed.
    """
    need_ros()
    names = [f"camera_{number}" for number in range(cameras)]
    together = {"cameras": names, **options.parameters}
    subjects: dict[str, tuple[list[tuple[dict[str, Any], str]], list[str]]] = {
        "one process": ([(together, "")], [f"/{NODE_NAME}/{name}" for name in names]),
        f"{cameras} processes": (
            [(options.parameters, f"/{name}") for name in names],
            [f"/{name}/{NODE_NAME}" for name in names],
        ),
    }
    rows: list[dict[str, Any]] = []
    with private_domain() as domain, tidy_shared_memory():
        environment = transport_environment(domain)
        for subject, (nodes, prefixes) in subjects.items():
            before = _gpu_memory()
            with ExitStack() as stack:
                processes = [_start(stack, *node, environment) for node in nodes]
                for process in processes:
                    process.wait_until_active(START_SECONDS)
                for rate in options.rates:
                    print(f"latency: {cameras} cameras, {subject}, {rate:g} Hz each", file=sys.stderr, flush=True)
                    found = run_peers(options, rate, environment, prefixes)
                    after = _gpu_memory()
                    rows.append(
                        {
                            "subject": subject,
                            "rate": rate,
                            "answered_hz": found["answered"] / options.seconds,
                            "memory_mib": sum(_memory(process.process.pid) for process in processes),
                            "gpu_memory_mib": None if before is None or after is None else after - before,
                            **found,
                        }
                    )
    return rows


def cameras_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the rows for people."""
    head = f"{'':<13}{'Hz':>5}{'sent':>7}{'answered':>10}{'per s':>7}{'MiB':>7}{'GPU MiB':>9}"
    lines = [head + "".join(f"{name + ' ms (p99)':>20}" for name in ANSWERS)]
    for row in rows:
        gpu = "-" if row["gpu_memory_mib"] is None else f"{row['gpu_memory_mib']:.0f}"
        text = f"{row['subject']:<13}{row['rate']:>5g}{row['sent']:>7}{row['answered']:>10}{row['answered_hz']:>7.1f}"
        times = (f"{row[f'{name}_median_ms']:.1f} ({row[f'{name}_p99_ms']:.1f})" for name in ANSWERS)
        lines.append(f"{text}{row['memory_mib']:>7.0f}{gpu:>9}" + "".join(f"{each:>20}" for each in times))
    return "\n".join(lines)


def _start(
    stack: ExitStack, parameters: Mapping[str, Any], namespace: str, environment: Mapping[str, str]
) -> NodeProcess:
    remapping = {"__ns": namespace} if namespace else {}
    return stack.enter_context(NodeProcess(parameters, remapping, environment))


def _memory(process: int) -> float:
    """The proportional set size in MiB: of memory that n processes share an n-th."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _gpu_memory() -> float | None:
    """The used memory of all GPUs in MiB; a container may not tell whose it is, so nobody else may be there."""
    if shutil.which(_QUERY[0]) is None:
        return None
    told = subprocess.run(_QUERY, capture_output=True, text=True, check=False)
    return sum(map(float, told.stdout.split())) if told.returncode == 0 else None
