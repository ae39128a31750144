# SPDX-License-Identifier: Apache-2.0
"""Hazards in every state of their life, and the frame that has them."""

from __future__ import annotations

from dataclasses import replace

from densehybrid_ros.hazards.hazard import Hazard, HazardFrame, Level, Region, Source, State

REGION = Region(90, 10, 20, 12, 9, (15.5, 24.0), 2.25, 1.5)
KNOWN = {"region": REGION, "probability": 0.75, "level": Level.WARN, "age": 12, "missed": 0, "first_stamp": 3.25}
PLACE = (1.0, 1.2, 20.0), 20.0, 1.0, 0.5, 0.8, Source.GROUND_PLANE
NEAR = Hazard(*PLACE, id=7, state=State.ACTIVE, time_to_reach=2.5, **KNOWN)
FAR = Hazard(id=8, state=State.ACTIVE, time_to_reach=None, **(KNOWN | {"region": replace(REGION, area=200)}))
CANDIDATE = replace(NEAR, id=9, state=State.CANDIDATE, level=Level.OK)
GONE = replace(NEAR, id=3, state=State.LOST, level=Level.OK, missed=5)
FRAME = HazardFrame(4.0, (NEAR, FAR), (CANDIDATE,), (GONE,), Level.WARN, "2 hazards, nearest 20.0 m ahead", (), 4)
