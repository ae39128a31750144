# SPDX-License-Identifier: Apache-2.0
"""A bag played over DDS to a node in another process, and what it publishes recorded."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")

from rendered_bag import write_frames
from rosbags.rosbag2 import WriterError

from densehybrid_ros.bags.frames import BagFrame
from densehybrid_ros.bags.reader import BagFrames
from densehybrid_ros.bags.storage import open_storage
from densehybrid_ros.bags.writer import RawBagWriter
from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.demo.play_and_record import BagPlayer, BagRecorder
from densehybrid_ros.demo.spinning import spinning_node
from densehybrid_ros.errors import InputError

pytestmark = pytest.mark.ros


@pytest.fixture
def domain_id(monkeypatch: pytest.MonkeyPatch) -> int:
    domain = random.SystemRandom().randint(1, 100)
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    return domain


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    camera = Camera(64, 32, 50, 50, 32, 16, 0.2, 0.0, 1.0)
    images = rng.integers(0, 256, (5, 32, 64, 3), dtype=np.uint8)
    frames = (BagFrame(1_000_000_000 + index, image, camera) for index, image in enumerate(images, 1))
    return write_frames(tmp_path / "drive", frames)


def contents(bag: Path, topic: str) -> list[bytes]:
    return [raw.data for raw in open_storage(bag).messages([topic])]


def assert_same_messages(actual: list[bytes], expected: list[bytes]) -> None:
    """Bytes must be the same but for the padding to a multiple of four that the middleware may append."""
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        assert one[: len(other)] == other
        assert len(one) - len(other) < 4


@contextmanager
def playing(
    bag: Path, recording: Path, topics: Collection[str], domain_id: int
) -> Iterator[tuple[BagPlayer, BagRecorder]]:
    """Yields a player whose pictures somebody listens to, and what records the topics meanwhile."""
    with spinning_node("player", domain_id) as node, RawBagWriter(recording) as writer:
        player, recorder = BagPlayer(node, BagFrames(bag)), BagRecorder(node, writer)
        recorder.subscribe(topics, timeout=20)
        assert player.wait_for_subscriber(timeout=20)
        yield player, recorder


def test_only_what_the_node_listens_to_is_played(bag: Path, domain_id: int) -> None:
    frames = BagFrames(bag)
    with spinning_node("player", domain_id) as node:
        player = BagPlayer(node, frames)
        assert node.count_publishers("/camera/image") == 1
        assert node.count_publishers("/camera/camera_info") == 1
        assert node.count_publishers("/camera/labels") == 0
        assert node.count_publishers("/camera/disparity") == 0  # the bag has none
        sent = dict(player.play(frames))
    assert list(sent) == [10**9 + number for number in range(1, 6)]


def test_pictures_come_at_the_pace_of_the_recording(tmp_path: Path, domain_id: int) -> None:
    image = np.zeros((32, 64, 3), np.uint8)
    paced = (BagFrame(10**9 + number * 10**8, image) for number in range(4))
    frames = BagFrames(write_frames(tmp_path / "paced", paced))
    with spinning_node("player", domain_id) as node:
        player = BagPlayer(node, frames)
        sent = [when for _, when in player.play(frames, 4.0)]
    assert sent[-1] - sent[0] > 0.05e9  # at four times the pace: 0.3 s, less what the first one took


def test_messages_are_played_and_recorded_byte_by_byte_and_a_first_without_an_answer_once_more(
    tmp_path: Path, bag: Path, domain_id: int
) -> None:
    topics = ["/camera/image", "/camera/camera_info"]
    recording = tmp_path / "heard"
    asked: list[int] = []

    def answered(stamp: int) -> bool:
        asked.append(stamp - 1_000_000_000)
        return all(recorder.wait_for(topic, stamp, 5.0) for topic in topics) and len(asked) not in (1, 4)

    with playing(bag, recording, topics, domain_id) as (player, recorder):
        sent = dict(player.play(BagFrames(bag), answered=answered))
        arrivals = recorder.received("/camera/image")

    assert asked == [1, 1, 2, 3, 4, 5]
    assert list(sent) == [10**9 + number for number in range(1, 6)]
    assert all(arrivals[stamp] > when for stamp, when in sent.items())
    for topic in topics:
        messages = contents(bag, topic)
        assert_same_messages(contents(recording, topic), messages[:1] + messages)


def test_a_topic_that_nobody_publishes_or_hears_is_noticed(tmp_path: Path, bag: Path, domain_id: int) -> None:
    with spinning_node("player", domain_id) as node:
        player = BagPlayer(node, BagFrames(bag))
        assert not player.wait_for_subscriber(timeout=0.2)
        recorder = BagRecorder(node, RawBagWriter(tmp_path / "echoed"))
        with pytest.raises(InputError, match=r"^/nothing: nobody published this topic within 0.2 s$"):
            recorder.subscribe(["/nothing"], timeout=0.2)


def test_what_goes_wrong_while_recording_reaches_who_waits(tmp_path: Path, bag: Path, domain_id: int) -> None:
    topic = "/camera/image"
    with playing(bag, tmp_path / "heard", [topic], domain_id) as (player, recorder):
        frames = player.play(BagFrames(bag), answered=lambda stamp: recorder.wait_for(topic, stamp, 5.0))
        next(frames)
        recorder._writer.__exit__(None, None, None)
        with pytest.raises(WriterError, match="Bag was not opened"):
            next(frames)  # the bag is closed, so the next answer can't be written
