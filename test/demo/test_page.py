# SPDX-License-Identifier: Apache-2.0
"""The page: pictures, data and no network."""

from __future__ import annotations

import base64
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
from densehybrid_ros.demo.page import DrivePage, run_lengths
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


def test_maps_behind_the_pictures_give_back_classes_and_scores(page: Path) -> None:
    data = data_of(page)
    runs = np.frombuffer(base64.b64decode(data["frames"][0]["classes"]), np.uint8).reshape(-1, 2)
    ids = np.repeat(runs[:, 0], runs[:, 1]).reshape(data["map"]["height"], data["map"]["width"])
    np.testing.assert_array_equal(ids, answered(0).semantic)

    size, (low, high) = data["score"]["map"], data["score"]["range"]
    steps = np.frombuffer(base64.b64decode(data["frames"][0]["score"]), np.uint8)
    scores = low + steps.reshape(size["height"], size["width"]) / 255 * (high - low)
    np.testing.assert_allclose(scores, answered(0).score, atol=(high - low) / 255)


def test_the_page_needs_no_network_and_keeps_its_script_whole(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "<title>A &lt;drive&gt;</title>" in text
    assert "__DATA__" not in text
    assert "__TITLE__" not in text
    addresses = set(re.findall(r"https?://[^\s\"']+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, never fetched
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", text)
    assert data_of(page)["frames"][2]["message"] == "no hazard </script>"


def test_run_lengths_of_long_and_short_runs() -> None:
    rng = np.random.default_rng(0)
    for ids in (
        np.zeros((30, 40), np.uint8),
        np.full((1, 255), 4, np.uint8),
        np.full((1, 256), 4, np.uint8),
        rng.integers(0, 3, (20, 50)).astype(np.uint8),
        np.repeat(rng.integers(0, 19, 9).astype(np.uint8), 300).reshape(30, 90),
    ):
        runs = run_lengths(ids)
        assert (runs[:, 1] > 0).all()
        np.testing.assert_array_equal(np.repeat(runs[:, 0], runs[:, 1]), ids.ravel())


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
    ramp = np.linspace(-3, 5, 400, dtype=np.float32)[None]
    steps = pictures.quantize(ramp, -1.0, 4.0)[0].astype(int)
    assert (np.diff(steps) >= 0).all()
    assert (steps[0], steps[-1]) == (0, 255)
    assert pictures.quantize(np.array([[np.nan]], np.float32), -1.0, 4.0)[0, 0] == 0
    brightness = pictures.score_picture(ramp, -1.0, 4.0)[0].sum(axis=1)
    assert brightness[-1] > brightness[200] > brightness[0]
    assert len(pictures.color_map()) == 256


def test_pixels_without_a_class_show_the_picture_in_grey() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    image[..., 0] = 200
    ids = np.zeros((4, 4), np.uint8)
    ids[0] = 255
    picture = pictures.semantic_picture(image, ids, color_table(CITYSCAPES_CLASSES))
    assert (picture[0, :, 0] == picture[0, :, 1]).all()
    assert picture[1, 0, 0] != picture[1, 0, 1]
