# SPDX-License-Identifier: Apache-2.0
"""``densehybrid bag`` as a user calls it."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from lost_and_found_layout import write_lost_and_found

from densehybrid_ros.bags import messages
from densehybrid_ros.bags.reader import BagFrames
from densehybrid_ros.bags.storage import open_storage
from densehybrid_ros.bags.topics import BagTopics
from densehybrid_ros.cli.main import main
from densehybrid_ros.datasets.pictures import write_picture
from densehybrid_ros.datasets.rendered_road import render_drive


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    for index in range(3):
        write_picture(tmp_path / "frames" / f"{index}.png", rng.integers(0, 256, (24, 48, 3), dtype=np.uint8))
    return tmp_path / "frames"


@pytest.fixture(scope="module")
def rendered_lost_and_found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes of a sequence each, 2 frames and 1, in LostAndFound's layout."""
    root, drive = tmp_path_factory.mktemp("laf"), list(render_drive(2, 2, 128, 64))
    write_lost_and_found(drive, root, "01_One")
    write_lost_and_found(drive[:1], root, "02_Two")
    return root


@pytest.fixture
def lost_and_found(rendered_lost_and_found: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(rendered_lost_and_found, tmp_path / "laf"))


def test_a_folder_becomes_a_bag(frames: Path, tmp_path: Path, capsys) -> None:
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


def test_compressed_sqlite3(frames: Path, tmp_path: Path) -> None:
    bag = tmp_path / "drive"
    assert main(["bag", str(frames), str(bag), "--compressed", "--storage", "sqlite3"]) == 0
    assert (bag / "drive.db3").is_file()
    for raw in open_storage(bag).messages():
        assert (raw.topic, raw.kind) == ("/camera/image/compressed", messages.COMPRESSED_IMAGE)
        assert bytes(raw.message.data[:2]) == b"\xff\xd8"
        assert raw.message.format == "rgb8; jpeg compressed bgr8"


def test_force_replaces_a_bag(frames: Path, tmp_path: Path, capsys) -> None:
    command = ["bag", str(frames), str(tmp_path / "drive")]
    assert main(command) == 0
    assert main(command) == 2
    assert "--force" in capsys.readouterr().err.splitlines()[-1]
    assert main([*command, "--force"]) == 0


def bag_lost_and_found(root: Path, output: Path, *options: str) -> int:
    return main(["bag", "--dataset", "lost_and_found", str(root), str(output), *options])


def test_a_data_set_becomes_a_bag_a_sequence(lost_and_found: Path, tmp_path: Path, capsys) -> None:
    (label,) = lost_and_found.rglob("02_Two_*_labelIds.png")
    cv2.imwrite(str(label), np.zeros((64, 128), np.uint8))
    output = tmp_path / "bags"

    assert bag_lost_and_found(lost_and_found, output, "--fps", "5", "--frame-id", "left") == 0

    assert sorted(path.name for path in output.iterdir()) == ["01_One_000000", "02_Two_000000"]
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{output / '01_One_000000'}: 2 frames of 128x64, ")
    assert "without" not in first
    assert second.startswith(f"{output / '02_Two_000000'}: 1 frames of 128x64, 1 without a labelled pixel, ")
    frames = list(BagFrames(output / "01_One_000000"))
    assert [frame.stamp for frame in frames] == [10**9, 10**9 + 2 * 10**8]
    for frame in frames:
        before = {raw.topic: raw.message for raw in frame.before}
        assert before["/camera/camera_info"].k[0] > 0
        assert before["/camera/disparity"].t > 0
        assert frame.labels is not None
        assert frame.instances is not None
        assert set(np.unique(frame.labels)) <= {0, 1, 255}
        np.testing.assert_array_equal(frame.instances > 0, frame.labels == 1)
    topics = ["/camera/image", "/camera/camera_info", "/camera/disparity", "/camera/labels"]
    stored = list(open_storage(output / "01_One_000000").messages(topics))
    assert len(stored) == 8
    assert {raw.message.header.frame_id for raw in stored} == {"left"}


def test_one_scene_and_nothing_is_replaced_unasked(lost_and_found: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "bags"
    assert bag_lost_and_found(lost_and_found, output, "--scene", "02_Two") == 0
    assert [path.name for path in output.iterdir()] == ["02_Two_000000"]
    assert bag_lost_and_found(lost_and_found, output) == 2
    assert "02_Two_000000: exists already" in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in output.iterdir()] == ["02_Two_000000"]
    assert bag_lost_and_found(lost_and_found, output, "--force") == 0


@pytest.mark.parametrize(
    ("damaged", "finished"), [("02_Two_000000_000000", ["01_One_000000"]), ("01_One_000000_000001", None)]
)
def test_a_damaged_frame_leaves_no_half_bag(
    damaged: str, finished: list[str] | None, lost_and_found: Path, tmp_path: Path, capsys
) -> None:
    output = tmp_path / "bags"
    (disparity,) = lost_and_found.rglob(f"{damaged}_disparity.png")
    disparity.write_bytes(disparity.read_bytes()[:40])

    assert bag_lost_and_found(lost_and_found, output) == 2

    assert f"{disparity}: truncated" in capsys.readouterr().err.splitlines()[-1]
    assert (sorted(path.name for path in output.iterdir()) if output.exists() else None) == finished
