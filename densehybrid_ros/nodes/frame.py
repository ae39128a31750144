# SPDX-License-Identifier: Apache-2.0
"""The record of one camera frame, from its subscription to the publishing of what is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from densehybrid_ros.hazards.hazard import HazardFrame, Level
from densehybrid_ros.perception.overlay import frame_overlay
from densehybrid_ros.perception.perception import Perceived
from densehybrid_ros.perception.settings import Settings

_DEFAULTS = Settings()
_NO_HAZARDS = HazardFrame(0.0, (), (), (), Level.OK, "", (), 0)


@dataclass
class CameraFrame:
    """One camera frame.

    Attributes:
        message: ``sensor_msgs/Image`` or ``CompressedImage``, or a view of its bytes (``cdr``).
        arrival: When it arrived, seconds of ``time.monotonic()``.
        settings: The parameters that it is processed with.
        is_answered: Whether its alert is out.
    """

    message: Any
    arrival: float
    settings: Settings = _DEFAULTS
    is_answered: bool = False
    _perceived: Perceived | None = None

    @property
    def header(self) -> Any:
        """The camera's header, which all outputs carry."""
        return self.message.header

    @property
    def image(self) -> np.ndarray:
        """uint8 RGB [H, W, 3], any strides."""
        return self.perceived.frame.image

    @property
    def perceived(self) -> Perceived:
        """What was made of it; there once the worker has come so far."""
        assert self._perceived is not None
        return self._perceived

    @perceived.setter
    def perceived(self, perceived: Perceived) -> None:
        self._perceived = perceived

    @cached_property
    def overlay(self) -> np.ndarray:
        """The picture for people, uint8 RGB [H, W, 3]; made once, for all who want it."""
        return frame_overlay(self.perceived, self.settings.overlay_opacity)

    @property
    def hazards(self) -> HazardFrame:
        """Its hazards; none where the hazard stage failed, which the alert says."""
        return self.perceived.hazards or _NO_HAZARDS
