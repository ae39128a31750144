# SPDX-License-Identifier: Apache-2.0
"""A frozen camera is named once that has lasted, and the alert is no plain OK then."""

from __future__ import annotations

import numpy as np
import pytest
from plain_messages import header

from densehybrid_ros.hazards.hazard import HazardFrame, Level
from densehybrid_ros.perception.alert import hazard_alert
from densehybrid_ros.perception.inputs import Inputs
from densehybrid_ros.perception.settings import Settings
from densehybrid_ros.perception.still_picture import StillPicture

SETTINGS = Settings(source_timeout=2.0)


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (64, 96, 3), dtype=np.uint8)


def grey(value: int) -> np.ndarray:
    return np.full((64, 96, 3), value, np.uint8)


SAME, PLAIN = "camera frozen: the same picture", "camera frozen: pictures of one colour"


@pytest.mark.parametrize(
    ("pictures", "problems"),
    [
        ([noise(0), noise(1), noise(2), noise(3)], [None] * 4),
        ([noise(0)] * 4, [None, None, f"{SAME} for 2.0 s", f"{SAME} for 3.0 s"]),
        ([noise(0), noise(0), noise(0), noise(1)], [None, None, f"{SAME} for 2.0 s", None]),
        ([noise(0), grey(1), grey(2), grey(3), noise(0)], [None, None, None, f"{PLAIN} for 2.0 s", None]),
        ([noise(0), noise(0)[:, ::-1], noise(0), noise(0)[:32]], [None] * 4),
    ],
)
def test_what_lasts_is_named(pictures: list[np.ndarray], problems: list[str | None]) -> None:
    still = StillPicture()
    assert [still.problem(picture, second, 2.0) for second, picture in enumerate(pictures)] == problems


def test_the_alert_of_a_frozen_camera_is_a_warning() -> None:
    inputs = Inputs()
    first, last = (inputs.frame(noise(0), header(), SETTINGS, now) for now in (7.0, 9.5))
    clear = HazardFrame(5.0, (), (), (), Level.OK, "no hazard", (), 0)
    levels = {}
    for frame in (first, last):
        alert = hazard_alert(clear, frame.problems, "optical", None, None, -3.0, (64, 96))
        levels[alert.summary.message] = alert.level
    assert levels == {"no hazard": Level.OK, f"{SAME} for 2.5 s; no hazard": Level.WARN}
    assert alert.summary.values["problems"] == f"{SAME} for 2.5 s"
