# SPDX-License-Identifier: Apache-2.0
"""The figures of a drive, from frames whose truth is made by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from densehybrid_ros.bags.recording import RecordedFrame
from densehybrid_ros.bags.storage import RawMessage
from densehybrid_ros.demo.figures import DriveFigures, TruthFigures
from densehybrid_ros.perception.geometry import Disparity
from densehybrid_ros.perception.perception import Frame


def frame(disparity: float | None = 2.0) -> tuple[RecordedFrame, Frame]:
    """Object 1 of 100 px on the left, object 7 of 60 px on the right, object 3 of 4 px, a void column."""
    instances = np.zeros((20, 40), np.uint16)
    instances[5:15, 0:10] = 1
    instances[5:15, 30:36] = 7
    instances[0:2, 20:22] = 3
    labels = (instances > 0).astype(np.uint8)
    labels[:, 39] = 255
    image = np.zeros((20, 40, 3), np.uint8)
    picture = RawMessage("/camera/image", "", 1, b"")
    known = None if disparity is None else Disparity(np.full((20, 40), disparity, np.float32), 100.0, 0.2)
    return RecordedFrame(0, 1, "0", image, picture, labels=labels, instances=instances), Frame(image, disparity=known)


def unknown(*boxes: tuple[slice, slice]) -> np.ndarray:
    mask = np.zeros((20, 40), bool)
    for box in boxes:
        mask[box] = True
    return mask


def test_objects_count_as_alerted_when_half_of_them_is_unknown() -> None:
    truth = TruthFigures()
    truth.add(*frame(disparity=0.5), unknown((slice(5, 9), slice(0, 10))))  # 40 of 100 px of object 1
    truth.add(*frame(disparity=2.0), unknown((slice(5, 10), slice(0, 10))))  # 50 of 100
    truth.add(*frame(disparity=4.0), unknown((slice(5, 15), slice(0, 20)), (slice(0, 20), slice(39, 40))))
    assert truth.seen == {1, 7}  # object 3 is too small
    assert truth.to_dict() == {
        "objects": 2,
        "objects_alerted": 1,
        "first_alert_distance_m": 10.0,
        "unknown_pixels_on_objects": 0.655,  # 190 of 290; void pixels do not count
    }


@pytest.mark.parametrize("disparity", [0.0, None])
def test_object_without_measured_depth_has_no_distance(disparity: float | None) -> None:
    truth = TruthFigures()
    truth.add(*frame(disparity), unknown((slice(5, 15), slice(0, 10))))
    assert truth.alerted == {1: None}


def test_summary_says_all_and_is_json() -> None:
    figures = DriveFigures(sent=10, answered=7, alerts=3, largest_region=1234, seconds={"drive": 2.25})
    figures.finish({"processed": "7", "dropped": "2", "rejected": "1"}, [100.0, 200.0, 300.0])
    figures.truth = TruthFigures()
    figures.truth.add(*frame(), unknown((slice(5, 15), slice(0, 10))))

    text = "\n".join(figures.lines())

    assert "10 sent, 7 processed, 2 dropped, 1 rejected" in text
    assert "median 200 ms, 95th percentile 290 ms" in text
    assert "3 of 7 frames; largest unknown region 1234 px" in text
    assert "1 of 2 unknown objects raised an alert, first at 10 m (median); 100% of the unknown" in text
    content = json.loads(json.dumps(figures.to_dict(), allow_nan=False))
    assert content["truth"]["objects_alerted"] == 1
    assert content["latency_median_ms"] == 200.0
