"""CameraInfo and mounts become the camera that they describe, or are named."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from hazard_peer import CAMERA, camera_info
from scipy.spatial.transform import Rotation

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.errors import InputError
from densehybrid_ros.perception.camera_model import (
    Mount,
    camera_from_info,
    mount_from_parameters,
    mount_from_transforms,
)
from densehybrid_ros.perception.transforms import Transform, TransformTree

pytestmark = pytest.mark.ros

MOUNT = Mount(Transform.of_mount(CAMERA.mount_height, CAMERA.pitch), "")
SIZE = (CAMERA.height, CAMERA.width)


def assert_same(camera: Camera, expected: Camera) -> None:
    assert vars(camera) == pytest.approx(vars(expected))


def test_camera_of_a_rectified_image() -> None:
    assert_same(camera_from_info(camera_info(), SIZE, MOUNT, baseline=0.21), CAMERA)


def test_k_counts_where_p_is_empty() -> None:
    assert_same(camera_from_info(camera_info(p=[0.0] * 12), SIZE, MOUNT, baseline=0.21), CAMERA)


def test_without_a_mount_the_height_is_not_known() -> None:
    camera = camera_from_info(camera_info(), SIZE)
    assert (camera.mount_height, camera.pitch, camera.baseline) == (0.0, 0.0, 0.0)


def test_binning_halves_the_picture() -> None:
    camera = camera_from_info(camera_info(binning_x=2, binning_y=2), (80, 160), MOUNT, baseline=0.21)
    assert_same(camera, CAMERA.scaled(160, 80))


def test_region_of_interest_shifts_the_principal_point() -> None:
    message = camera_info()
    message.roi.x_offset, message.roi.y_offset, message.roi.width, message.roi.height = 40, 30, 200, 100
    camera = camera_from_info(message, (100, 200), MOUNT)
    assert (camera.cx, camera.cy, camera.fx) == (CAMERA.cx - 40, CAMERA.cy - 30, CAMERA.fx)


@pytest.mark.parametrize(
    ("changes", "size", "reason"),
    [
        ({}, (1024, 2048), "is for images of 320x160, but they have 2048x1024"),
        ({"p": [0.0] * 12, "k": [0.0] * 9}, SIZE, "focal lengths are 0 and 0 px"),
        ({"p": [-1.0] * 12}, SIZE, "focal lengths are -1 and -1 px"),
        ({"p": [math.nan] * 12}, SIZE, "not finite"),
    ],
)
def test_what_is_no_camera_is_named(changes: dict, size: tuple[int, int], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        camera_from_info(camera_info(**changes), size, MOUNT)


def tree_with(rotation: Rotation, height: float) -> TransformTree:
    tree = TransformTree()
    tree.store("base_link", "camera", (1.5, 0.2, height), rotation.as_quat())
    return tree


def test_mount_from_transforms() -> None:
    optical = Rotation.from_matrix(Transform.of_mount(0.0, 0.05).rotation)
    mount = mount_from_transforms(tree_with(optical, 1.4), "base_link", "camera")
    assert (mount.to_base.height, mount.to_base.pitch, mount.frame) == (1.4, pytest.approx(0.05), "base_link")


@pytest.mark.parametrize(
    ("rotation", "height", "reason"),
    [
        (Rotation.identity(), 1.4, "is it an optical frame"),  # a body's frame: x ahead
        (Rotation.from_matrix(Transform.of_mount(0.0, 0.0).rotation), -0.5, "which must be on the road"),
        (Rotation.from_matrix(Transform.of_mount(0.0, 0.0).rotation) * Rotation.from_euler("z", 1.0), 1.4, "rolled by"),
    ],
)
def test_a_mount_that_does_not_look_along_the_road_is_named(rotation: Rotation, height: float, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        mount_from_transforms(tree_with(rotation, height), "base_link", "camera")


def test_mount_from_parameters() -> None:
    mount = mount_from_parameters(1.2, 0.04)
    assert mount is not None
    assert (mount.to_base.height, mount.to_base.pitch) == pytest.approx((1.2, 0.04))
    assert mount_from_parameters(0.0, 0.04) is None
