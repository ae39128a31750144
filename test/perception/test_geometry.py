# SPDX-License-Identifier: Apache-2.0
"""Transforms against SciPy's rotations, trees of them, mounts, and the camera that a camera_info describes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from plain_messages import CAMERA, SIZE, camera_info, optical, region
from scipy.spatial.transform import Rotation

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.errors import InputError
from densehybrid_ros.perception.geometry import (
    Transform,
    TransformTree,
    camera_from_info,
    mount_from_parameters,
    mount_from_transforms,
)

MOVE = (1.0, -2.0, 0.5)
NO_TURN = (0.0, 0.0, 0.0, 1.0)


def random_turn(seed: int) -> Rotation:
    return Rotation.random(random_state=seed)


def test_quaternion_becomes_the_rotation_that_it_means() -> None:
    turn = random_turn(1)
    transform = Transform.from_quaternion(MOVE, turn.as_quat())
    np.testing.assert_allclose(transform.rotation, turn.as_matrix(), atol=1e-12)
    np.testing.assert_allclose(transform.apply((3.0, 4.0, 5.0)), turn.apply((3.0, 4.0, 5.0)) + MOVE)
    np.testing.assert_allclose(transform.inverse().apply(transform.apply((3.0, 4.0, 5.0))), (3.0, 4.0, 5.0))


def test_mount_looks_ahead_and_down() -> None:
    mount = Transform.of_mount(height=1.2, pitch=0.1)
    np.testing.assert_allclose(mount.apply((0.0, 0.0, 0.0)), (0.0, 0.0, 1.2))
    # Ten metres along the optical axis: ahead and, by the pitch, below the camera.
    np.testing.assert_allclose(mount.apply((0.0, 0.0, 10.0)), (10 * math.cos(0.1), 0.0, 1.2 - 10 * math.sin(0.1)))
    np.testing.assert_allclose(mount.apply((1.0, 0.0, 0.0)), (0.0, -1.0, 1.2))  # right is minus left
    assert np.linalg.det(mount.rotation) == pytest.approx(1.0)
    assert (mount.height, mount.pitch) == pytest.approx((1.2, 0.1))


@pytest.mark.parametrize(
    ("move", "turn", "reason"),
    [
        ((math.nan, 0.0, 0.0), NO_TURN, "not finite"),
        (MOVE, (0.0, 0.0, math.inf, 1.0), "not finite"),
        ((0.0, -1e308, 0.0), NO_TURN, "a translation of -1e.308 m"),
        (MOVE, (0.0, 0.0, 1e308, 1e308), "a quaternion of length 1.414e.308"),
        (MOVE, (0.0, 0.0, 0.0, 0.0), "a quaternion of length 0,"),
        (MOVE, (1.0, 0.0, 0.0, 1.0), "a quaternion of length 1.414"),
    ],
)
def test_what_is_no_transform_is_named(move: tuple, turn: tuple, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Transform.from_quaternion(move, turn)
    tree = TransformTree()
    tree.store("base", "camera", MOVE, NO_TURN)
    tree.store("base", "camera", move, turn)
    with pytest.raises(InputError, match=f"from 'camera' to 'base' .*{reason}"):
        tree.lookup("base", "camera")
    assert tree.base_of("/camera") == "base"  # so that the lookup tells what is wrong
    tree.store("base", "camera", MOVE, NO_TURN)
    assert tree.lookup("base", "camera").height == 0.5


def test_chain_is_followed_up_and_down() -> None:
    tree = TransformTree()
    links = {"body": ("/map", 1), "base": ("body", 2), "mast": ("body", 3), "camera": ("mast", 4)}
    for child, (parent, seed) in links.items():
        tree.store(parent, child, random_turn(seed).as_euler("xyz"), random_turn(seed).as_quat())
    body_mast, mast_camera, body_base = (
        Transform(random_turn(seed).as_matrix(), random_turn(seed).as_euler("xyz")) for seed in (3, 4, 2)
    )
    expected = body_base.inverse() @ body_mast @ mast_camera
    found = tree.lookup("base", "camera")
    np.testing.assert_allclose(found.rotation, expected.rotation, atol=1e-12)
    np.testing.assert_allclose(found.translation, expected.translation, atol=1e-12)
    np.testing.assert_allclose(tree.lookup("camera", "base").translation, expected.inverse().translation, atol=1e-12)
    np.testing.assert_allclose(tree.lookup("camera", "/camera").rotation, np.eye(3))


def test_frames_that_nothing_connects_and_circles() -> None:
    tree = TransformTree()
    with pytest.raises(InputError, match="no transforms connect 'camera' with 'base'"):
        tree.lookup("base", "camera")
    tree.store("a", "b", MOVE, NO_TURN)
    tree.store("b", "a", MOVE, NO_TURN)
    with pytest.raises(InputError, match="no transforms connect 'a' with 'base'"):
        tree.lookup("base", "a")
    tree.store("a", "a", MOVE, NO_TURN)
    with pytest.raises(InputError, match="no two different frames"):
        tree.lookup("base", "a")


@pytest.mark.parametrize(
    ("links", "base"),
    [
        ([("base_footprint", "base_link"), ("base_link", "mast"), ("mast", "optical")], "base_footprint"),
        ([("map", "odom"), ("odom", "base_link"), ("base_link", "optical")], "base_link"),
        ([("car/base_link", "optical"), ("car/base_link", "car/base_footprint")], "car/base_footprint"),
        ([("odom", "ego_vehicle"), ("ego_vehicle", "optical")], "ego_vehicle"),
        ([("mast", "optical")], "mast"),
        ([("map", "optical")], ""),
        ([("fleet/map", "fleet/car"), ("fleet/car", "optical")], "fleet/car"),
        ([("optical", "left")], ""),
    ],
)
def test_base_frame_is_guessed(links: list[tuple[str, str]], base: str) -> None:
    tree = TransformTree()
    for parent, child in links:
        tree.store(f"/{parent}", child, MOVE, NO_TURN)
    assert tree.base_of("/optical") == base


def assert_same(camera: Camera, **changes: float) -> None:
    expected = vars(CAMERA) | {"baseline": 0.0, "pitch": 0.0, "mount_height": 0.0} | changes
    assert vars(camera) == pytest.approx(expected)


def test_p_counts_before_k() -> None:
    assert_same(camera_from_info(camera_info(), SIZE))
    rectified = np.array([300.0, 0, 150, 0, 0, 310, 70, 0, 0, 0, 1, 0])
    assert_same(camera_from_info(camera_info(p=rectified), SIZE), fx=300, fy=310, cx=150, cy=70)
    assert_same(camera_from_info(camera_info(p=np.zeros(12)), SIZE))
    assert_same(camera_from_info(camera_info(width=0, height=0), SIZE))


def test_binning_halves_the_picture() -> None:
    half = vars(CAMERA.scaled(160, 80))
    camera = camera_from_info(camera_info(binning_x=2, binning_y=2), (80, 160))
    assert_same(camera, **{name: half[name] for name in ("width", "height", "fx", "fy", "cx", "cy")})
    # A driver that tells of binning beside numbers for the picture that it sends.
    assert_same(camera_from_info(camera_info(binning_x=2, binning_y=2), SIZE))


def test_region_of_interest_shifts_the_principal_point() -> None:
    camera = camera_from_info(camera_info(roi=region(40, 30, 200, 100)), (100, 200))
    assert (camera.cx, camera.cy, camera.fx) == (CAMERA.cx - 40, CAMERA.cy - 30, CAMERA.fx)
    binned = camera_from_info(camera_info(roi=region(40, 30, 200, 100), binning_x=2, binning_y=2), (50, 100))
    assert (binned.cx, binned.fx) == pytest.approx(((CAMERA.cx - 40 + 0.5) / 2 - 0.5, CAMERA.fx / 2))


@pytest.mark.parametrize(
    ("changes", "size", "reason"),
    [
        ({}, (1024, 2048), "is for images of 320x160, but they have 2048x1024"),
        ({"p": np.zeros(12), "k": np.zeros(9)}, SIZE, "focal lengths are 0 and 0 px"),
        ({"p": np.full(12, -1.0)}, SIZE, "focal lengths are -1 and -1 px"),
        ({"p": np.full(12, math.nan)}, SIZE, "not finite"),
    ],
)
def test_what_is_no_camera_is_named(changes: dict, size: tuple[int, int], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        camera_from_info(camera_info(**changes), size)


def tree_with(quaternion: np.ndarray, height: float) -> TransformTree:
    tree = TransformTree()
    tree.store("base_link", "camera", (1.5, 0.2, height), quaternion)
    return tree


@pytest.mark.parametrize(
    ("quaternion", "height", "reason"),
    [
        (NO_TURN, 1.4, "is it an optical frame"),  # a body's frame: x ahead
        (optical(), -0.5, "which must be on the road"),
        (optical(), 12.0, "which must be on the road"),
        (optical(), 0.015, "is 0.015 m above 'base_link', which must be on the road"),
        ((Rotation.from_quat(optical()) * Rotation.from_euler("z", 1.0)).as_quat(), 1.4, "rolled by"),
    ],
)
def test_a_mount_that_does_not_look_along_the_road_is_named(quaternion: np.ndarray, height: float, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        mount_from_transforms(tree_with(quaternion, height), "base_link", "camera")


def test_mount_from_parameters() -> None:
    mount = mount_from_parameters(1.2, 0.04)
    assert mount is not None
    assert (mount.to_base.height, mount.to_base.pitch) == pytest.approx((1.2, 0.04))
    assert mount_from_parameters(0.0, 0.04) is None
    for height in (0.015, 0.19, 10.1):
        with pytest.raises(InputError, match="no height of a camera"):
            mount_from_parameters(height, 0.0)
