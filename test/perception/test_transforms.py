"""Transforms against rotations worked out by SciPy, and what a tree of them connects."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from densehybrid_ros.errors import InputError
from densehybrid_ros.perception.transforms import Transform, TransformTree

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
        (MOVE, (0.0, 0.0, 0.0, 0.0), "a quaternion of length 0.000"),
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


def test_a_newer_transform_replaces_the_older_one() -> None:
    tree = TransformTree()
    tree.store("base", "camera", MOVE, NO_TURN)
    tree.store("base", "camera", (0.0, 0.0, 2.0), NO_TURN)
    assert tree.lookup("base", "camera").height == 2.0


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
