# SPDX-License-Identifier: Apache-2.0
"""Frames into a bag and back: nothing may change on the way."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from rendered_bag import write_frames

from densehybrid_ros.bags import messages
from densehybrid_ros.bags.frames import BagFrame
from densehybrid_ros.bags.reader import BagFrames
from densehybrid_ros.bags.recording import RecordedFrame
from densehybrid_ros.bags.storage import open_storage
from densehybrid_ros.bags.topics import BagTopics, parse_topics
from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.errors import InputError
from densehybrid_ros.perception.images import plane

HEIGHT, WIDTH = 24, 40
CAMERA = Camera(WIDTH, HEIGHT, 50.5, 51.25, 19.5, 11.5, baseline=0.25, pitch=0.04, mount_height=1.25)


def make_frames(count: int = 3) -> list[BagFrame]:
    rng = np.random.default_rng(7)
    frames = []
    for index in range(count):
        disparity = rng.uniform(0.5, 60, (HEIGHT, WIDTH)).astype(np.float32)
        disparity[:5] = 0
        frames.append(
            BagFrame(
                stamp=1_700_000_000_123_456_789 + index * 100_000_001,
                image=rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8),
                camera=CAMERA,
                disparity=disparity,
                labels=rng.choice(np.array([0, 1, 255], np.uint8), (HEIGHT, WIDTH)),
                semantic=rng.integers(0, 19, (HEIGHT, WIDTH), dtype=np.uint8),
                instances=rng.integers(0, 60_000, (HEIGHT, WIDTH), dtype=np.uint16),
                speed=8.25 + index,
            )
        )
    return frames


def assert_same(actual: RecordedFrame, expected: BagFrame, disparity_topic: str = "/camera/disparity") -> None:
    assert actual.stamp == expected.stamp
    for name in ("image", "labels", "semantic", "instances"):
        np.testing.assert_array_equal(getattr(actual, name), getattr(expected, name), err_msg=name)
        assert getattr(actual, name).dtype == getattr(expected, name).dtype, name
    before = {raw.topic: raw.message for raw in actual.before}
    disparity = plane(before[disparity_topic].image)
    np.testing.assert_array_equal(disparity, expected.disparity)
    assert before["/odometry"].twist.twist.linear.x == expected.speed
    assert expected.camera is not None
    assert before["/camera/camera_info"].k[[0, 2]].tolist() == [expected.camera.fx, expected.camera.cx]
    assert before["/tf"].transforms[0].transform.translation.z == expected.camera.mount_height


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_every_array_stamp_and_camera_comes_back(tmp_path: Path, storage: str) -> None:
    first, _, last = make_frames()
    bare = BagFrame(first.stamp + 1, first.image)
    read = BagFrames(write_frames(tmp_path / "drive", [first, bare, last], storage=storage))

    assert len(read) == 3
    one, two, three = read
    assert_same(one, first)
    assert (two.labels, two.before) == (None, ())
    assert_same(three, last)


def test_png_comes_back_bit_by_bit_and_jpeg_nearly(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, WIDTH, dtype=np.uint8), (HEIGHT, 1))
    red = np.dstack([ramp, ramp // 2, ramp // 2])  # the colours must not change places
    frames = [replace(frame, image=red) for frame in make_frames()]
    png = write_frames(tmp_path / "png", frames, compression="png")
    jpeg = write_frames(tmp_path / "jpeg", frames, compression="jpeg")

    assert open_storage(jpeg).topics["/camera/image/compressed"].kind == messages.COMPRESSED_IMAGE
    assert BagFrames(jpeg).is_compressed
    for lossless, lossy, expected in zip(BagFrames(png), BagFrames(jpeg), frames, strict=True):
        assert_same(lossless, expected)
        assert np.abs(lossy.image.astype(int) - expected.image).max() <= 8


def test_messages_carry_what_ros_tools_need_and_the_picture_is_last(tmp_path: Path) -> None:
    (frame,) = make_frames(1)
    bag = write_frames(tmp_path / "drive", [frame], frame_id="left_optical")

    stored = list(open_storage(bag).messages())
    sent = {raw.topic: raw.message for raw in stored}

    assert stored[-1].topic == "/camera/image"
    assert {raw.time for raw in stored} == {frame.stamp}
    headers = [message.header for topic, message in sent.items() if topic not in ("/tf", "/odometry")]
    assert {(header.stamp.sec, header.stamp.nanosec, header.frame_id) for header in headers} == {
        (1_700_000_000, 123_456_789, "left_optical")
    }
    info, disparity = sent["/camera/camera_info"], sent["/camera/disparity"]
    assert (info.width, info.height, info.distortion_model) == (WIDTH, HEIGHT, "plumb_bob")
    assert info.k.tolist() == [50.5, 0, 19.5, 0, 51.25, 11.5, 0, 0, 1]
    np.testing.assert_array_equal(info.p.reshape(3, 4), np.column_stack([info.k.reshape(3, 3), np.zeros(3)]))
    assert (disparity.f, disparity.t, disparity.image.encoding) == (50.5, 0.25, "32FC1")
    assert frame.disparity is not None
    assert disparity.min_disparity == frame.disparity[frame.disparity > 0].min()
    assert disparity.max_disparity == frame.disparity.max()


def test_camera_pose_points_the_optical_axis_ahead_and_down() -> None:
    header = messages.header_message(1, "camera")
    (stamped,) = messages.camera_pose_message(CAMERA, header, "base_link").transforms
    q = stamped.transform.rotation
    x, y, z, w = q.x, q.y, q.z, q.w
    axis_in_base = [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)]
    right_in_base = [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)]

    np.testing.assert_allclose(axis_in_base, [np.cos(0.04), 0, -np.sin(0.04)], atol=1e-9)
    np.testing.assert_allclose(right_in_base, [0, -1, 0], atol=1e-9)
    assert stamped.transform.translation.z == 1.25


def test_metadata_offers_qos_that_players_of_every_distribution_read(tmp_path: Path) -> None:
    bag = write_frames(tmp_path / "drive", make_frames())
    content = yaml.safe_load((bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    topics = [entry["topic_metadata"] for entry in content["topics_with_message_count"]]

    assert (content["version"], content["storage_identifier"]) == (8, "mcap")
    assert content["relative_file_paths"] == ["drive.mcap"]
    for topic in topics:
        (qos,) = yaml.safe_load(topic["offered_qos_profiles"])
        assert (qos["reliability"], qos["durability"]) == (1, 2)  # reliable, volatile
        assert topic["type_description_hash"].startswith("RIHS01_")


@pytest.mark.ros
def test_ros2_bag_reads_it(tmp_path: Path) -> None:
    if shutil.which("ros2") is None or subprocess.run(["ros2", "bag", "--help"], capture_output=True).returncode:
        pytest.skip("`ros2 bag` is not installed here")
    bag = write_frames(tmp_path / "drive", make_frames())
    result = subprocess.run(["ros2", "bag", "info", str(bag)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "/camera/disparity" in result.stdout


def test_topics_are_named_by_the_user(tmp_path: Path) -> None:
    topics = parse_topics("image=/left/image_rect,disparity=stereo/disparity")
    assert topics == BagTopics(image="/left/image_rect", disparity="/stereo/disparity")
    bag = write_frames(tmp_path / "drive", make_frames(1), topics=topics)

    (frame,) = BagFrames(bag, topics)

    assert_same(frame, make_frames(1)[0], topics.disparity)


@pytest.mark.parametrize(
    "text", ["picture=/a", "image", "image=", "image=bad topic!", "image=/1a", "image=/a//b", "image=/a,labels=/a"]
)
def test_malformed_topic_names_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--topics"):
        parse_topics(text)
