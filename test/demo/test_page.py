# SPDX-License-Identifier: Apache-2.0
"""The page: pictures, data and no network."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from densehybrid_ros.bags.recording import RecordedFrame
from densehybrid_ros.bags.storage import RawMessage
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES, color_table
from densehybrid_ros.demo import page as pictures
from densehybrid_ros.demo.answers import AnsweredFrame
from densehybrid_ros.demo.figures import DriveFigures
from densehybrid_ros.demo.page import DrivePage
from densehybrid_ros.hazards.hazard import Level
from densehybrid_ros.perception.alert import Alert, Status
from densehybrid_ros.perception.perception import Frame

UNKNOWN = len(CITYSCAPES_CLASSES)
HEIGHT, WIDTH = 32, 64


def recorded(stamp: int, image: np.ndarray) -> RecordedFrame:
    return RecordedFrame(0, stamp, "0", image, RawMessage("/camera/image", "", stamp, b""))


def answered(stamp: int, raised: bool = True) -> AnsweredFrame:
    image = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    semantic = np.zeros((HEIGHT, WIDTH), np.uint8)
    semantic[:16] = 10
    open_set = semantic.copy()
    score = np.full((HEIGHT, WIDTH), -10, np.float32)
    values = {"hazard_count": "0"}
    if raised:
        open_set[20:28, 8:24] = UNKNOWN
        score[20:28, 8:24] = 0
        values = {
            "hazard_count": "1",
            "hazard_area_px": "128",
            "largest_area_px": "128",
            "largest_left": "8",
            "largest_top": "20",
            "largest_width": "16",
            "largest_height": "8",
            "largest_peak_score": "0.125",
        }
    level, message = (Level.WARN, "1 unknown region") if raised else (Level.OK, "no hazard </script>")
    alert = Alert(Status("hazards", level, message, values))
    return AnsweredFrame(recorded(stamp, image), Frame(image), alert, semantic, score, open_set, image)


def unanswered(stamp: int) -> AnsweredFrame:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    return AnsweredFrame(recorded(stamp, image), Frame(image), None, None, None, None, None)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    drive = DrivePage(tmp_path, CITYSCAPES_CLASSES, threshold=-5.0, score_range=(-12.0, 2.0))
    drive.add(answered(10**9), 120.0)
    drive.add(unanswered(10**9 + 10**8), None)
    drive.add(answered(10**9 + 2 * 10**8, raised=False), 80.0)
    return drive.finish("A <drive>", "about it", DriveFigures(sent=3, processed=2, dropped=1), {"drive/": "the bag"})


def data_of(page: Path) -> dict[str, Any]:
    found = re.search(
        r'<script id="data" type="application/json">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL
    )
    assert found
    content: dict[str, Any] = json.loads(found.group(1))
    return content


def test_frames_have_their_state_time_and_pictures(page: Path) -> None:
    frames = data_of(page)["frames"]

    assert [frame["state"] for frame in frames] == ["alert", "missing", "clear"]
    assert [frame["time"] for frame in frames] == [0.0, 0.1, 0.2]
    assert frames[0]["box"] == [8, 20, 16, 8]
    assert frames[0]["chips"] == [["regions", "1"], ["area", "128 px"], ["peak score", "0.1"], ["latency", "120 ms"]]
    assert frames[1]["roles"] == ["camera"]
    assert frames[0]["unknown"] == pytest.approx(128 / (HEIGHT * WIDTH), abs=1e-6)
    for number, frame in enumerate(frames, 1):
        for role in frame["roles"]:
            picture = cv2.imread(str(page.parent / role / f"{number:04}.jpg"))
            assert picture is not None
            assert picture.shape == (HEIGHT, WIDTH, 3)


def test_the_page_needs_no_network_and_keeps_its_script_whole(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "<title>A &lt;drive&gt;</title>" in text
    addresses = set(re.findall(r"https?://[^\s\"']+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, never fetched
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", text)
    assert data_of(page)["frames"][2]["message"] == "no hazard </script>"


def test_unknown_pixels_are_marked_and_nothing_else_takes_their_colour() -> None:
    frame = answered(0)
    assert frame.open_set is not None
    colors = color_table(CITYSCAPES_CLASSES)
    picture = pictures.open_set_picture(frame.frame.image, frame.open_set, UNKNOWN, colors)

    near = np.abs(picture.astype(int) - pictures.UNKNOWN_COLOR).sum(axis=2) < 90
    assert near[22:26, 10:22].all()
    assert not near[:18].any()
    assert not near[:, 30:].any()


def test_score_picture_is_ordered_and_takes_nan_for_low() -> None:
    ramp = np.array([[-3.0, np.nan, -1.0, 0.0, 2.0, 4.0, 5.0]], np.float32)
    shown = pictures.score_picture(ramp, -1.0, 4.0)[0].astype(int)
    brightness = shown.sum(axis=1)
    assert brightness[0] == brightness[1] == brightness[2] < brightness[3] < brightness[4] < brightness[5]
    assert (shown[5] == shown[6]).all()
    assert pictures.color_map()[0] == "#{:02x}{:02x}{:02x}".format(*shown[0])
