# SPDX-License-Identifier: Apache-2.0
"""How long a picture's answers take from its stamp on: through the node, a bare relay, one or several processes.

Cameras, node or relay, and listeners are processes of their own, in a ROS domain of their own; all keep freed memory.
ROS is not imported here.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from densehybrid_ros.demo import transport
from densehybrid_ros.demo.node_process import ModuleProcess, NodeProcess
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.text_tables import format_table

ANSWERS = {
    "alert": (transport.ALERT_TOPIC,),
    "masks": (transport.SEMANTIC_TOPIC, transport.OPEN_SET_TOPIC),
    "score": (transport.SCORE_TOPIC,),
}
"""What is measured -> the topics that all have to have come."""
STAGES = {"waiting": "queue_age", "network": "inference", "hazards": "hazards", "images": "publish"}
"""Part of the node's own time -> its name in /diagnostics."""

_PEERS = "densehybrid_ros.demo.latency_peers"
_GPU_QUERY = ("nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits")
_START_SECONDS, _LAST_ANSWER_SECONDS, _OVERHEAD_SECONDS = 600.0, 2.0, 60.0


def measure_latency(
    size: tuple[int, int],
    rates: Sequence[float],
    seconds: float,
    parameters: Mapping[str, Any],
    cameras: int = 1,
    report: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:
    """Measures relay and node, or with several cameras one node process and a process for each, at every rate.

    Args:
        size: (width, height) of the pictures.
        rates: Pictures a second of each camera, one run each.
        seconds: Of a run.
        parameters: Of the node.
        cameras: Their number.
        report: Is told which run begins.

    Returns:
        One row a run: ``subject``, ``rate``, the ``figures`` of all answers, ``answered_hz`` (alerts a second, of all
        cameras), ``memory_mib`` (of the processes, what they share counted once), ``gpu_memory_mib`` (by which the
        GPUs' used memory has grown; None without nvidia-smi). With a relay, the node's rows also have
        ``{alert,masks,score}_ratio``: its median to that of the relay, and the same ``_without_network``.

    Raises:
        InputError: ROS is not installed, or one of the processes failed.
    """
    if importlib.util.find_spec("rclpy") is None:
        raise InputError("rclpy can't be imported: source your ROS 2 installation, or install ROS as the README says")
    rows: list[dict[str, Any]] = []
    camera = {"size": size, "seconds": seconds}
    with transport.private_domain() as domain, transport.tidy_shared_memory():
        environment = transport.transport_environment(domain)
        for subject, starts, prefixes in _subjects(parameters, cameras, environment):
            used = _gpu_memory()
            with ExitStack() as stack:
                processes = [stack.enter_context(start()) for start in starts]
                for process in processes:
                    process.wait_until_active(_START_SECONDS)
                for rate in rates:
                    report(f"{subject} at {rate:g} Hz, {seconds:g} s")
                    row = {"subject": subject, "rate": rate, **_run(camera | {"rate": rate}, environment, prefixes)}
                    row["answered_hz"] = row["answered"] / seconds
                    row["memory_mib"] = sum(_memory(each.process.pid) for each in processes)
                    row["gpu_memory_mib"] = None if used is None else (_gpu_memory() or used) - used
                    rows.append(row)
    for relay, node in zip(rows, rows[len(rates) :], strict=False) if cameras == 1 else ():
        for name in ANSWERS:
            before, after = relay[f"{name}_median_ms"], node[f"{name}_median_ms"]
            node[f"{name}_ratio"] = after / before
            node[f"{name}_ratio_without_network"] = (after - node["stages_ms"]["network"]) / before
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the rows of ``measure_latency`` for people."""
    header = ["", "Hz", "sent", "answered", "per s", "MiB", "GPU MiB", *(f"{name} ms (p99)" for name in ANSWERS)]
    cells, remarks = [], []
    for row in rows:
        counts = [str(row["sent"]), str(row["answered"]), f"{row['answered_hz']:.1f}", f"{row['memory_mib']:.0f}"]
        counts.append("-" if row["gpu_memory_mib"] is None else f"{row['gpu_memory_mib']:.0f}")
        times = [f"{row[f'{name}_median_ms']:.1f} ({row[f'{name}_p99_ms']:.1f})" for name in ANSWERS]
        cells.append([row["subject"], f"{row['rate']:g}", *counts, *times])
        where = f"{row['subject']} at {row['rate']:g} Hz"
        if "alert_ratio" in row:
            parts = ((name, row[f"{name}_ratio"], row[f"{name}_ratio_without_network"]) for name in ANSWERS)
            ratios = ", ".join(f"{name} {ratio:.2f} ({without:.2f})" for name, ratio, without in parts)
            remarks.append(f"{where}, to the relay (less its own median time of the network): {ratios}")
        if "stages_ms" in row:
            stages = ", ".join(f"{name} {value:.1f}" for name, value in row["stages_ms"].items())
            remarks.append(f"{where}, its own medians in ms: {stages}")
    about = "from a picture's stamp until the listener has the answer: median and 99th percentile"
    return "\n".join([about, "", format_table(header, cells), "", *remarks])


def figures(stamps: Sequence[int], heard: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the figures of the pictures with these stamps (ns), from what ``latency_peers.listen`` returns.

    They are ``sent``, ``answered`` (alerts), ``{alert,masks,score}_{median,p99}_ms``; of a node also ``stages_ms``, its
    own medians from /diagnostics.

    Raises:
        InputError: No picture was answered.
    """
    arrivals = {topic: dict(heard[topic]) for topic in sum(ANSWERS.values(), ())}
    answered = sum(stamp in arrivals[transport.ALERT_TOPIC] for stamp in stamps)
    found: dict[str, Any] = {"sent": len(stamps), "answered": answered}
    for name, topics in ANSWERS.items():
        complete = [stamp for stamp in stamps if all(stamp in arrivals[topic] for topic in topics)]
        if not complete:
            raise InputError(f"no {name} came for {len(stamps)} pictures; take a smaller --size or a longer --seconds")
        times = [(max(arrivals[topic][stamp] for topic in topics) - stamp) / 1e6 for stamp in complete]
        found[f"{name}_median_ms"], found[f"{name}_p99_ms"] = map(float, np.percentile(times, (50, 99)))
    if "inference_p50_ms" in heard["diagnostics"]:
        found["stages_ms"] = {name: float(heard["diagnostics"][f"{key}_p50_ms"]) for name, key in STAGES.items()}
    return found


def _subjects(
    parameters: Mapping[str, Any], cameras: int, environment: Mapping[str, str]
) -> Iterator[tuple[str, list[Callable[[], ModuleProcess]], list[str]]]:
    """Yields what is measured: its name, what starts its processes, and the prefix of each camera's topics."""
    node, own = partial(NodeProcess, environment=environment), f"/{transport.NODE_NAME}"
    if cameras == 1:
        yield "relay", [partial(ModuleProcess, _PEERS, ["relay", "{}"], environment)], [own]
        yield "node", [partial(node, parameters)], [own]
        return
    names = [f"camera_{number}" for number in range(cameras)]
    yield "one process", [partial(node, {"cameras": names, **parameters})], [f"{own}/{name}" for name in names]
    starts = [partial(node, parameters, {"__ns": f"/{name}"}) for name in names]
    yield f"{cameras} processes", [*starts], [f"/{name}{own}" for name in names]


def _run(camera: Mapping[str, Any], environment: Mapping[str, str], prefixes: Sequence[str]) -> dict[str, Any]:
    """Sends pictures of all cameras to what runs, and returns the figures of the answers."""
    with ExitStack() as stack:

        def start(role: str, prefix: str, **options: Any) -> ModuleProcess:
            given = [role, json.dumps({"prefix": prefix, **options})]
            return stack.enter_context(ModuleProcess(_PEERS, given, environment))

        listeners = [start("listener", prefix) for prefix in prefixes]
        cameras = [start("camera", prefix, **camera) for prefix in prefixes]
        try:
            for each in cameras:
                each.process.wait(camera["seconds"] + _OVERHEAD_SECONDS)
        except subprocess.TimeoutExpired as error:
            mend = "take a smaller --size or lower --rates"
            raise InputError(f"the pictures could not be sent in time; {mend}") from error
        stamps = [stamp for each in cameras for stamp in _found(each)["stamps"]]
        time.sleep(_LAST_ANSWER_SECONDS)
        for each in listeners:
            each.stop()
        heard = [_found(each) for each in listeners]
    topics = sum(ANSWERS.values(), ())
    together = {topic: [pair for found in heard for pair in found[topic]] for topic in topics}
    return figures(stamps, together | {"diagnostics": heard[0]["diagnostics"]})


def _found(peer: ModuleProcess) -> dict[str, Any]:
    """Returns what a process of ``latency_peers`` has printed."""
    lines = peer.log().strip().splitlines() or ["it has written nothing"]
    found = next((line for line in reversed(lines) if line.startswith("{")), json.dumps({"error": lines[-1]}))
    content: dict[str, Any] = json.loads(found)
    if "error" in content:
        raise InputError(f"a process of the measurement failed: {content['error']}")
    return content


def _memory(process: int) -> float:
    """The proportional set size in MiB: of memory that n processes share an n-th."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _gpu_memory() -> float | None:
    """The used memory of all GPUs in MiB; a container may not tell whose it is, so nobody else may be there."""
    if shutil.which(_GPU_QUERY[0]) is None:
        return None
    told = subprocess.run(_GPU_QUERY, capture_output=True, text=True, check=False)
    return sum(map(float, told.stdout.split())) if told.returncode == 0 else None
