# SPDX-License-Identifier: Apache-2.0
"""``densehybrid bag`` as a user calls it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from densehybrid_ros.bags import messages
from densehybrid_ros.bags.reader import BagFrames
from densehybrid_ros.bags.storage import open_storage
from densehybrid_ros.bags.topics import BagTopics
from densehybrid_ros.cli.main import main


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for index in range(3):
        cv2.imwrite(str(folder / f"{index}.png"), rng.integers(0, 256, (24, 48, 3), dtype=np.uint8))
    return folder


def test_a_folder_becomes_a_bag(frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = tmp_path / "drive"

    assert main(["bag", str(frames), str(bag), "--fps", "5", "--frame-id", "left", "--topics", "image=/l/image"]) == 0

    printed = capsys.readouterr()
    assert printed.out.startswith(f"{bag}: 3 frames of 48x24, ")
    assert "writing the bag: 3 frames in" in printed.err
    read = list(BagFrames(bag, BagTopics(image="/l/image")))
    assert [frame.stamp for frame in read] == [10**9, 10**9 + 2 * 10**8, 10**9 + 4 * 10**8]
    stored = cv2.imread(str(frames / "1.png"))
    assert stored is not None
    np.testing.assert_array_equal(read[1].image, stored[..., ::-1])
    assert {raw.message.header.frame_id for raw in open_storage(bag).messages(["/l/image"])} == {"left"}


def test_the_rendered_road_becomes_a_bag_with_all_truth(tmp_path: Path) -> None:
    bag = tmp_path / "drive"

    assert main(["bag", "rendered", str(bag), "--seed", "3", "--frames", "2", "--size", "64x32"]) == 0

    assert {name: topic.kind for name, topic in open_storage(bag).topics.items()} == {
        "/camera/camera_info": messages.CAMERA_INFO,
        "/camera/disparity": messages.DISPARITY_IMAGE,
        "/camera/image": messages.IMAGE,
        "/camera/instances": messages.IMAGE,
        "/camera/labels": messages.IMAGE,
        "/camera/semantic_labels": messages.IMAGE,
        "/odometry": messages.ODOMETRY,
        "/tf": messages.TF_MESSAGE,
    }


def test_compressed_sqlite3_is_replaced_when_asked(
    frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = tmp_path / "drive"
    command = ["bag", str(frames), str(bag), "--compressed", "--storage", "sqlite3"]
    assert main(command) == 0
    assert main(command) == 2
    assert "--force" in capsys.readouterr().err.splitlines()[-1]
    assert main([*command, "--force"]) == 0
    assert (bag / "drive.db3").is_file()
    for raw in open_storage(bag).messages():
        assert (raw.topic, raw.kind) == ("/camera/image/compressed", messages.COMPRESSED_IMAGE)
        assert bytes(raw.message.data[:2]) == b"\xff\xd8"
        assert raw.message.format == "rgb8; jpeg compressed bgr8"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere", "OUT"], "nowhere: no such file or folder"),
        (["FRAMES", "OUT", "--labels", "nowhere"], "nowhere: no such folder"),
        (["FRAMES", "OUT", "--camera", "nowhere.json"], "nowhere.json: cannot be read"),
        (["FRAMES", "OUT", "--topics", "picture=/a"], "--topics 'picture=/a'"),
        (["FRAMES", "FRAMES"], "exists and is not a bag"),
        (["rendered", "OUT", "--labels", "FRAMES"], "--labels: does not apply to the rendered road"),
        (["VIDEO", "OUT", "--disparity", "FRAMES"], "--disparity: does not apply to a video"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str], words: str, frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    places = {"OUT": str(tmp_path / "out"), "FRAMES": str(frames), "VIDEO": str(tmp_path / "a.mp4")}

    assert main(["bag", *(places.get(word, word) for word in arguments)]) == 2

    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert printed.err.startswith("densehybrid bag: ")
    assert words in printed.err
    assert not (tmp_path / "out").exists()
