# SPDX-License-Identifier: Apache-2.0
"""``densehybrid predict`` on a rendered drive, pictures and a video: what it leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rendered_bag import write_drive

from densehybrid_ros.bags.sources import RenderedFrames
from densehybrid_ros.cli.main import main
from densehybrid_ros.datasets.pictures import write_picture
from densehybrid_ros.datasets.video_file import video_file
from densehybrid_ros.inference import Segmenter
from densehybrid_ros.networks import ModelCard, load_model, save_model

FRAMES, WIDTH, HEIGHT = 3, 256, 128
UNKNOWN = 19


@pytest.fixture(scope="module")
def model(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    card = ModelCard("tiny", "light", thresholds={"t": -3.0}, default_threshold="t")
    save_model(path, load_model(model_path).network, card)
    return path


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return [frame.image for frame in RenderedFrames(3, FRAMES, (WIDTH, HEIGHT), 10.0)]


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drive(tmp_path_factory.mktemp("bag") / "drive", FRAMES, (WIDTH, HEIGHT))


@pytest.fixture
def pictures(images: list[np.ndarray], tmp_path: Path) -> Path:
    for number, image in enumerate(images):
        write_picture(tmp_path / "pictures" / f"street{number}.png", image)
    return tmp_path / "pictures"


def predict(source: Path, model: Path | str, output: Path, *options: object) -> int:
    words = ("predict", source, "--model", model, "--device", "cpu", "--output", output, *options)
    return main([str(word) for word in words])


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def entries(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "hazards.jsonl").read_text().splitlines()]


def test_a_bag_gives_overlays_masks_scores_hazards_and_a_video(bag: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "seen"
    options = ("-p", "threshold_name:=outlier_tpr95", "-p", "trigger_count:=1", "-p", "min_hazard_area:=8")
    assert predict(bag, "light", output, *options, "--masks", "--scores") == 0
    names = [f"frame_{number:06d}_{number / 10:.2f}s" for number in range(FRAMES)]
    kinds = ("overlays/{}.jpg", "semantic/{}.png", "open_set/{}.png", "scores/{}.png")
    planes = {kind.format(name) for kind in kinds for name in names}
    assert files(output) == planes | {"hazards.jsonl", "overlays.mp4"}
    video = cv2.VideoCapture(str(output / "overlays.mp4"))
    assert (video.get(cv2.CAP_PROP_FRAME_COUNT), video.get(cv2.CAP_PROP_FPS)) == (FRAMES, 10)

    segmenter = Segmenter(load_model("light"), "eager", "cpu")
    threshold, found = segmenter.card.threshold("outlier_tpr95"), 0
    for entry, name, frame in zip(entries(output), names, RenderedFrames(3, FRAMES, (WIDTH, HEIGHT)), strict=True):
        masks = segmenter(frame.image, threshold)
        for role in ("semantic", "open_set"):
            written = cv2.imread(str(output / role / f"{name}.png"), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(written, getattr(masks, role))
        steps = cv2.imread(str(output / "scores" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        assert steps.dtype == np.uint16
        nats = np.clip(masks.anomaly_score, -128, 127.99)
        np.testing.assert_allclose(steps / 256 - 128, nats, atol=1 / 256)
        assert (entry["frame"], entry["image_size"]) == (name, [WIDTH, HEIGHT])
        assert entry["threshold"] == pytest.approx(threshold)
        assert entry["stamp"] == pytest.approx(frame.stamp / 1e9)
        assert entry["level"] in ("OK", "WARN", "ERROR")
        for hazard in entry["hazards"]:
            if hazard["missed_frames"]:
                continue  # the box is where it is expected
            left, top, width, height = hazard["box"]
            box = masks.open_set[top : top + height, left : left + width]
            assert hazard["area"] <= np.count_nonzero(box == UNKNOWN)
            assert 0 <= hazard["probability"] <= 1
            assert hazard["peak_score"] >= hazard["score"] > threshold
            found += hazard["distance"] is not None and hazard["level"] in ("WARN", "ERROR")
    assert found > 0, "the bag tells how the camera is mounted"
    assert f"frames  {FRAMES}\n" in capsys.readouterr().out


def test_pictures_are_judged_one_by_one_and_keep_their_names(
    pictures: Path, images: list[np.ndarray], model: Path, tmp_path: Path, capsys
) -> None:
    write_picture(pictures / "street1.jpg", images[1][:64])  # of another size, of the same name
    (pictures / "street3.png").write_bytes(b"no picture")
    assert predict(pictures, model, tmp_path / "seen", "--threshold", -100) == 0
    names = ["street0", "street1", "street1_000002", "street2"]
    assert files(tmp_path / "seen") == {"hazards.jsonl", *(f"overlays/{name}.jpg" for name in names)}
    found = entries(tmp_path / "seen")
    assert [entry["frame"] for entry in found] == names
    assert all(entry["hazards"][0]["id"] == 1 for entry in found)
    assert {hazard["state"] for entry in found for hazard in entry["hazards"]} == {"active"}
    printed = capsys.readouterr()
    assert "frames  4, 1 left out" in printed.out
    assert printed.err.count(f"left out: {pictures / 'street3.png'}: truncated or not a picture") == 1


def test_a_single_picture_and_a_limit(pictures: Path, model: Path, tmp_path: Path) -> None:
    assert predict(pictures / "street1.png", model, tmp_path / "one") == 0
    assert files(tmp_path / "one") == {"hazards.jsonl", "overlays/street1.jpg"}
    (entry,) = entries(tmp_path / "one")
    assert entry["threshold"] == -3.0  # the card's
    assert predict(pictures, model, tmp_path / "two", "--limit", 2) == 0
    assert len(entries(tmp_path / "two")) == 2


def test_pictures_with_a_rate_and_a_video_move(
    pictures: Path, images: list[np.ndarray], model: Path, tmp_path: Path
) -> None:
    assert predict(pictures, model, tmp_path / "seen", "--threshold", -100, "--fps", 5) == 0
    assert {"overlays.mp4", "overlays/street0.jpg"} <= files(tmp_path / "seen")
    assert [entry["stamp"] for entry in entries(tmp_path / "seen")] == pytest.approx([1.0, 1.2, 1.4])
    video = tmp_path / "drive.mp4"
    with video_file(video, 50_000_000) as show:
        for image in images:
            show(image)
    # What it made before, it replaces whole.
    assert predict(video, model, tmp_path / "seen", "--threshold", -100) == 0
    names = [f"overlays/frame_00000{number}_{number / 20:.2f}s.jpg" for number in range(FRAMES)]
    assert files(tmp_path / "seen") == {"hazards.jsonl", "overlays.mp4", *names}
    states = [{hazard["state"] for hazard in entry["hazards"]} for entry in entries(tmp_path / "seen")]
    assert states[0] == {"candidate"}
    assert "active" in states[-1], "it is tracked from frame to frame"
