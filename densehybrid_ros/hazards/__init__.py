# SPDX-License-Identifier: Apache-2.0
"""From anomalous pixels to hazards that a planner can act on; free of ROS and PyTorch."""

from densehybrid_ros.hazards.chain import HazardChain
from densehybrid_ros.hazards.hazard import Hazard, HazardFrame, Level, Location, Source, State
from densehybrid_ros.hazards.settings import HazardSettings

__all__ = ["Hazard", "HazardChain", "HazardFrame", "HazardSettings", "Level", "Location", "Source", "State"]
