"""A replay through the real node: a recording is played to it, its masks and its alerts are read back."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from densehybrid_ros.bags.messages import TF_MESSAGE
from densehybrid_ros.bags.recording import LeaveOut, Recording
from densehybrid_ros.demo.answers import answered_frames
from densehybrid_ros.demo.drive import drive, running_node
from densehybrid_ros.demo.topics import ANSWER_TOPICS
from densehybrid_ros.evaluation.replay import Answer, known_frames
from densehybrid_ros.nodes.messages import is_installed
from densehybrid_ros.perception.settings import Settings


def node_answers(
    recording: Recording,
    settings: Settings,
    num_classes: int,
    leave_out: LeaveOut,
    limit: int | None = None,
    live: bool = False,
) -> Iterator[Answer]:
    """Plays a recording to the node, one frame after the answer to the one before, and yields what it answered.

    Args:
        recording: What to play.
        settings: The parameters. The node is given every one, not the file that they come from: what a file says of
            one node by name would count before a ``-p``. What is read back is published in any case.
        num_classes: Number of the model's classes; the id of unknown.
        leave_out: Gets a line about frames that were not answered.
        limit: Play at most this many frames.
        live: Play at the recorded pace at most, in the ROS domain of this process, so that viewers can watch.

    Raises:
        InputError: The node did not start, died or did not answer.
    """
    hears_transforms = is_installed(TF_MESSAGE)
    parameters = {name: value for name, value in asdict(settings).items() if value is not None}
    parameters |= dict.fromkeys((f"publish_{topic.rpartition('/')[2]}" for topic in ANSWER_TOPICS), True)
    parameters |= {"autostart": True, "input_transport": "compressed" if recording.is_compressed else "raw"}
    parameters["score_encoding"] = "32FC1"  # what is read back are nats
    if not hears_transforms:
        parameters["base_frame"] = ""
    with tempfile.TemporaryDirectory() as folder:
        answers, log = Path(folder) / "answers", Path(folder) / "node.log"
        with running_node(parameters, recording.topics, log, private=not live) as node:
            told = known_frames(recording, settings) if settings.base_frame and not hears_transforms else None
            _, latencies = drive(node, recording, answers, 1.0 if live else None, told, limit)
        for answered in answered_frames(islice(known_frames(recording, settings), limit), answers):
            recorded, alert, overlay = answered.frame, answered.alert, answered.overlay
            semantic, score, open_set = answered.semantic, answered.score, answered.open_set
            if semantic is None or score is None or open_set is None or alert is None or overlay is None:
                moment = f"{recording.path}: {recording.topics.image} at {recorded.stamp} ns"
                leave_out(f"{moment}: the node did not answer", 1)
                continue
            masks, latency = (semantic, score, open_set == num_classes), latencies.get(recorded.stamp, float("nan"))
            yield Answer(recorded, answered.known, *masks, alert, latency, partial(np.asarray, overlay))
