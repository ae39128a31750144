"""The vehicle's speed from ``nav_msgs/Odometry``."""

from __future__ import annotations

import math
import time
from typing import Any

from densehybrid_ros.errors import InputError


class SpeedInput:
    """Keeps the newest speed. One thread adds to it while another one reads."""

    def __init__(self) -> None:
        self._newest: tuple[float, float] | None = None

    def add(self, message: Any) -> None:
        """Takes the speed ahead (x of the twist, which is given in the vehicle's own frame)."""
        self._newest = float(message.twist.twist.linear.x), time.monotonic()

    def speed(self, timeout: float) -> float | None:
        """Returns the speed in m/s (negative: backwards); None where no message ever came.

        Args:
            timeout: Seconds after which the newest message counts no more.

        Raises:
            InputError: The newest is too old or not finite.
        """
        newest = self._newest
        if newest is None:
            return None
        speed, arrival = newest
        age = time.monotonic() - arrival
        if age > timeout:
            raise InputError(f"nothing for {age:.1f} s")
        if not math.isfinite(speed):
            raise InputError("the speed ahead is not finite")
        return speed
