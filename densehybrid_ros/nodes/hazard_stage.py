"""The hazard stage of one frame: what the inputs know goes into the chain, and nothing that goes wrong comes out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from std_msgs.msg import Header

from densehybrid_ros.hazards.chain import HazardChain
from densehybrid_ros.hazards.hazard import HazardFrame
from densehybrid_ros.nodes.hazard_inputs import Surroundings
from densehybrid_ros.nodes.statistics import FrameStatistics
from densehybrid_ros.perception.camera_model import Mount
from densehybrid_ros.perception.disparity import nanoseconds
from densehybrid_ros.perception.settings import Settings

if TYPE_CHECKING:
    from densehybrid_ros.inference import FrameResult
    from densehybrid_ros.networks import ModelCard


@dataclass(frozen=True)
class HazardReport:
    """What is known about the hazards of one frame.

    Attributes:
        frame: What the chain says; None where it failed, and nothing is known.
        problems: What was wrong, "NAME: what" each.
        mount: How the camera is mounted, None: unknown.
        ego_speed: Speed in m/s, None: unknown.
    """

    frame: HazardFrame | None
    problems: tuple[str, ...] = ()
    mount: Mount | None = None
    ego_speed: float | None = None


class HazardStage:
    """Runs the chain, in the worker's thread."""

    def __init__(
        self,
        card: ModelCard,
        surroundings: Callable[[Header, tuple[int, int], Settings], Surroundings],
        statistics: FrameStatistics,
    ) -> None:
        """Puts the parts together.

        Args:
            card: Of the model: its classes and its calibration.
            surroundings: Returns what the other inputs know at a frame.
            statistics: Takes times and problems.
        """
        self._classes = card.classes
        self._chain = HazardChain(card.classes, card.confidence)
        self._surroundings = surroundings
        self._statistics = statistics
        self._reset = threading.Event()

    def reset(self) -> None:
        """Lets all tracks begin anew at the next frame; may be called from any thread."""
        self._reset.set()

    def __call__(self, header: Header, result: FrameResult, settings: Settings) -> HazardReport:
        """Processes one frame; it raises nothing."""
        began = time.monotonic()
        try:
            report = self._update(header, result, settings)
        except Exception as error:  # the images are still worth publishing, and the alert says what happened
            self.reset()
            report = HazardReport(None, (f"hazards: {type(error).__name__}: {error}",))
        self._statistics.add_time("hazards", time.monotonic() - began)
        for problem in report.problems:
            self._statistics.add_problem(problem)
        return report

    def _update(self, header: Header, result: FrameResult, settings: Settings) -> HazardReport:
        if self._reset.is_set():
            self._reset.clear()
            self._chain.reset()
        known = self._surroundings(header, result.anomaly_score.shape, settings)
        unknown: Any = result.open_set == np.uint8(len(self._classes))
        frame = self._chain.update(
            nanoseconds(header.stamp) * 1e-9,
            result.semantic,
            result.anomaly_score,
            unknown,
            settings.hazard_settings(),
            known.camera,
            known.disparity,
            known.ego_speed,
        )
        return HazardReport(frame, (*known.problems, *frame.problems), known.mount, known.ego_speed)
