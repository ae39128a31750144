# SPDX-License-Identifier: Apache-2.0
"""How long a picture's answers take from its stamp on, through the node and through a bare relay. ROS is not imported.

Camera, node or relay, and listener are processes of their own, in a ROS domain of their own; all keep freed memory.
"""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from densehybrid_ros.demo.node_process import NodeProcess, with_this_package
from densehybrid_ros.demo.topics import ALERT_TOPIC, NODE_NAME, OPEN_SET_TOPIC, SCORE_TOPIC, SEMANTIC_TOPIC
from densehybrid_ros.demo.transport import private_domain, tidy_shared_memory, transport_environment
from densehybrid_ros.errors import InputError

ANSWERS = {"alert": (ALERT_TOPIC,), "masks": (SEMANTIC_TOPIC, OPEN_SET_TOPIC), "score": (SCORE_TOPIC,)}
"""What is measured -> the topics that all have to have come."""
STAGES = {"waiting": "queue_age", "network": "inference", "hazards": "hazards", "images": "publish"}
"""Part of the node's own time -> its name in /diagnostics."""

START_SECONDS = 600.0
"""After which a node that is not active has failed."""
_LAST_ANSWER_SECONDS, _OVERHEAD_SECONDS = 2.0, 60.0


@dataclass(frozen=True)
class LatencyOptions:
    """What to measure.

    Attributes:
        size: (width, height) of the pictures.
        rates: Pictures a second, one run each.
        seconds: Of a run.
        model: Of the node.
        backend: Of the node.
    """

    size: tuple[int, int]
    rates: Sequence[float]
    seconds: float
    model: str
    backend: str

    @property
    def parameters(self) -> dict[str, Any]:
        """Of the node."""
        return {"model": self.model, "backend": self.backend, "warm_up_size": list(self.size)}


def measure_latency(options: LatencyOptions) -> list[dict[str, Any]]:
    """Measures relay and node at every rate.

    Returns:
        One row a run: ``subject``, ``rate``, ``sent``, ``answered``, ``{alert,masks,score}_{median,p99}_ms``; with the
        node also ``stages_ms`` (its own medians, from /diagnostics) and ``{alert,masks,score}_ratio``: its median to
        that of the relay, and the same ``_without_network``.

    Raises:
        InputError: ROS is not installed, or one of the processes failed.
    """
    need_ros()
    subjects = {
        "relay": ({}, "densehybrid_ros.demo.relay"),
        "node": (options.parameters, "densehybrid_ros.nodes"),
    }
    rows: list[dict[str, Any]] = []
    with private_domain() as domain, tidy_shared_memory():
        environment = transport_environment(domain)
        for subject, (given, module) in subjects.items():
            with NodeProcess(given, environment=environment, module=module) as process:
                process.wait_until_active(START_SECONDS)
                for rate in options.rates:
                    print(f"latency: {subject} at {rate:g} Hz", file=sys.stderr, flush=True)
                    rows.append({"subject": subject, "rate": rate} | run_peers(options, rate, environment))
    for relay, node in zip(rows, rows[len(options.rates) :], strict=False):
        for name in ANSWERS:
            before, after = relay[f"{name}_median_ms"], node[f"{name}_median_ms"]
            node[f"{name}_ratio"] = after / before
            node[f"{name}_ratio_without_network"] = (after - node["stages_ms"]["network"]) / before
    return rows


def need_ros() -> None:
    """Raises an InputError where ROS is not installed."""
    if importlib.util.find_spec("rclpy") is None:
        raise InputError("rclpy can't be imported: source your ROS 2 installation, or install ROS as the README says")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the rows for people."""
    head = f"{'':<7}{'Hz':>5}{'sent':>7}{'answered':>10}" + "".join(f"{name + ' ms (p99)':>20}" for name in ANSWERS)
    lines = ["from a picture's stamp until the listener has the answer: median and 99th percentile", "", head]
    for row in rows:
        times = (f"{row[f'{name}_median_ms']:.1f} ({row[f'{name}_p99_ms']:.1f})" for name in ANSWERS)
        counts = f"{row['subject']:<7}{row['rate']:>5g}{row['sent']:>7}{row['answered']:>10}"
        lines.append(counts + "".join(f"{text:>20}" for text in times))
    lines += ["", "the node's median to the relay's; and less its own median time of the network"]
    for row in rows:
        if "stages_ms" in row:
            ratios = (f"{row[f'{n}_ratio']:.2f} ({row[f'{n}_ratio_without_network']:.2f})" for n in ANSWERS)
            lines.append(f"{'ratio':<7}{row['rate']:>5g}{'':>17}" + "".join(f"{text:>20}" for text in ratios))
            stages = ", ".join(f"{name} {value:.1f}" for name, value in row["stages_ms"].items())
            lines.append(f"{'node':<7}{row['rate']:>5g}  its own medians in ms: {stages}")
    return "\n".join(lines)


def run_peers(
    options: LatencyOptions, rate: float, environment: Mapping[str, str], prefixes: Sequence[str] = (f"/{NODE_NAME}",)
) -> dict[str, Any]:
    """Sends pictures to nodes that run, and returns the ``figures`` of all their answers together.

    Args:
        options: What to send.
        rate: Pictures a second of each camera.
        environment: Of the processes.
        prefixes: Of the topics of each camera, see ``latency_peers``.

    Raises:
        InputError: One of the processes failed, or there was no answer.
    """
    width, height = options.size
    sizes = [f"--width={width}", f"--height={height}", f"--rate={rate}", f"--seconds={options.seconds}"]
    variables, started = with_this_package(environment), []
    with tempfile.TemporaryDirectory() as folder:

        def start(number: int, what: str, *arguments: str) -> tuple[subprocess.Popen[bytes], Path]:
            output = Path(folder) / f"{what}_{number}.json"
            command = [sys.executable, "-m", "densehybrid_ros.demo.latency_peers", f"--prefix={prefixes[number]}"]
            command += [f"--output={output}", *arguments]
            started.append(subprocess.Popen(command, env=variables, start_new_session=True))
            return started[-1], output

        try:
            listeners = [start(number, "heard") for number in range(len(prefixes))]
            cameras = [start(number, "sent", *sizes) for number in range(len(prefixes))]
            for camera, _ in cameras:
                camera.wait(options.seconds + _OVERHEAD_SECONDS)
            time.sleep(_LAST_ANSWER_SECONDS)
            for listener, _ in listeners:
                listener.send_signal(signal.SIGINT)
                listener.wait(_OVERHEAD_SECONDS)
            sent, heard = ([json.loads(path.read_text()) for _, path in peers] for peers in (cameras, listeners))
        except (subprocess.SubprocessError, OSError) as error:
            raise InputError(f"a process of the measurement failed: {error}") from error
        finally:
            for process in started:
                process.kill()
                process.wait()
    for found in sent:
        if "error" in found:
            raise InputError(found["error"])
    together = {
        topic: [pair for found in heard for pair in found[topic]] for topics in ANSWERS.values() for topic in topics
    }
    stamps = [stamp for found in sent for stamp in found["stamps"]]
    return figures(stamps, together | {"diagnostics": heard[0]["diagnostics"]})


def figures(stamps: Sequence[int], heard: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the figures of a run.

    Args:
        stamps: Of the pictures that count, nanoseconds.
        heard: What ``latency_peers.listen`` returns.

    Raises:
        InputError: No picture was answered.
    """
    arrivals = {topic: dict(heard[topic]) for topic in sum(ANSWERS.values(), ())}
    found: dict[str, Any] = {"sent": len(stamps), "answered": sum(stamp in arrivals[ALERT_TOPIC] for stamp in stamps)}
    for name, topics in ANSWERS.items():
        complete = [stamp for stamp in stamps if all(stamp in arrivals[topic] for topic in topics)]
        if not complete:
            raise InputError(f"no {name} came for {len(stamps)} pictures; take a smaller --size or a longer --seconds")
        times = [(max(arrivals[topic][stamp] for topic in topics) - stamp) / 1e6 for stamp in complete]
        found[f"{name}_median_ms"], found[f"{name}_p99_ms"] = map(float, np.percentile(times, (50, 99)))
    if "inference_p50_ms" in heard["diagnostics"]:
        found["stages_ms"] = {name: float(heard["diagnostics"][f"{key}_p50_ms"]) for name, key in STAGES.items()}
    return found
