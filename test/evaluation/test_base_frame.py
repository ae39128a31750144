# SPDX-License-Identifier: Apache-2.0
"""Which frame on the road a replay takes, where the parameters leave it open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from plain_messages import transform, transforms

from densehybrid_ros.bags import messages
from densehybrid_ros.bags.reader import BagFrames
from densehybrid_ros.bags.writer import RawBagWriter
from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.evaluation.replay import known_frames, with_base_frame
from densehybrid_ros.perception.settings import Settings

CAMERA = Camera(64, 32, 50.0, 50.0, 32.0, 16.0, 0.2, 0.05, 1.4)
FRAMES = 3


def _link(parent: str, child: str, height: float = 0.0) -> bytes:
    """A transform straight up."""
    return bytes(messages.serialize(transforms(transform(parent, child, (0, 0, height), (0, 0, 0, 1)))))


def _bag(path: Path, *links: bytes, on: str = "base_link", late: Sequence[bytes] = ()) -> BagFrames:
    """Pictures of a camera that stands on a frame; the links are static, the late ones come with the last picture."""
    with RawBagWriter(path) as writer:
        kinds = {"/camera/image": messages.IMAGE, "/camera/camera_info": messages.CAMERA_INFO}
        for topic, kind in {**kinds, "/tf": messages.TF_MESSAGE, "/tf_static": messages.TF_MESSAGE}.items():
            writer.add_topic(topic, kind)
        pose = messages.camera_pose_message(CAMERA, messages.header_message(0, "camera"), on) if on else None
        for data in (*links, *([messages.serialize(pose)] if pose else [])):
            writer.write_raw("/tf_static", 5, data)
        for number in range(FRAMES):
            time = 10**9 + number * 10**8
            header = messages.header_message(time, "camera")
            for data in late if number == FRAMES - 1 else ():
                writer.write_raw("/tf", time - 1, data)
            image = messages.image_message(np.zeros((32, 64, 3), np.uint8), "rgb8", header)
            writer.write_raw(
                "/camera/camera_info", time, messages.serialize(messages.camera_info_message(CAMERA, header))
            )
            writer.write_raw("/camera/image", time, messages.serialize(image))
    return BagFrames(path)


@pytest.mark.parametrize(
    ("links", "on", "late", "expected", "height"),
    [
        ([("odom", "base_footprint"), ("base_footprint", "base_link", 0.3)], "base_link", [], "base_footprint", 1.7),
        ([("map", "base_link")], "base_link", [], "base_link", 1.4),
        ([], "mast", [("base_link", "mast", 0.5)], "base_link", None),  # a chain that comes in parts is waited for
        ([], "", [], "", None),
    ],
)
def test_the_frame_on_the_road_is_found_through_the_chain(
    tmp_path: Path, links: list[tuple], on: str, late: list[tuple], expected: str, height: float | None
) -> None:
    bag = _bag(tmp_path / "bag", *(_link(*link) for link in links), on=on, late=[_link(*link) for link in late])
    settings = with_base_frame(bag, Settings(ego_speed=3.0))
    assert settings == Settings(ego_speed=3.0, base_frame=expected)
    for _, known in known_frames(bag, settings) if height is not None else ():
        assert known.problems == ()
        assert known.placed_camera is not None
        assert known.placed_camera.mount_height == pytest.approx(height)
        assert known.placed_camera.pitch == pytest.approx(0.05)


@pytest.mark.parametrize("given", [Settings(camera_height=1.2), Settings(base_frame="ground")])
def test_what_the_parameters_say_counts(tmp_path: Path, given: Settings) -> None:
    assert with_base_frame(_bag(tmp_path / "bag"), given) is given
