# SPDX-License-Identifier: Apache-2.0
"""The road below the pixels: on the plane of the mount, aligned with the masks, unknown where hazards have no place."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES
from densehybrid_ros.errors import InputError
from densehybrid_ros.hazards.location import ground_reach
from densehybrid_ros.inference import FrameResult
from densehybrid_ros.perception.geometry import Mount, Transform
from densehybrid_ros.perception.ground import POINT, ground_class_confidence, ground_open_set, ground_points
from densehybrid_ros.perception.perception import Frame, Perceived
from densehybrid_ros.perception.settings import PARAMETERS, Settings

HEIGHT, WIDTH = 61, 130
CAMERA = Camera(WIDTH, HEIGHT, 150.0, 140.0, 64.0, 29.5, baseline=0.0, pitch=0.05, mount_height=1.3)
UNKNOWN = len(CITYSCAPES_CLASSES)
EVERY_THIRD = Settings(points_decimation=3)


def perceived(camera: Camera | None = CAMERA, seed: int = 0, **known: Any) -> Perceived:
    random = np.random.default_rng(seed)
    open_set = random.integers(0, UNKNOWN + 1, (HEIGHT, WIDTH), dtype=np.uint8)
    confidence = random.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
    masks = FrameResult(open_set % UNKNOWN, np.zeros((HEIGHT, WIDTH), np.float32), open_set, confidence)
    frame = Frame(np.zeros((HEIGHT, WIDTH, 3), np.uint8), camera=camera, **known)
    return Perceived(frame, masks, CITYSCAPES_CLASSES, 0.0, None, (), 0.0, 0.0)


def places(points: np.ndarray) -> np.ndarray:
    """float64 [H, W, 3], x, y and z."""
    return np.stack([points[name].astype(float) for name in "xyz"], axis=-1)


def test_points_lie_on_the_ray_of_their_pixel_at_the_depth_that_hazards_have() -> None:
    points = ground_points(perceived(), EVERY_THIRD)
    assert (points.dtype, points.shape) == (POINT, (21, 44))
    reach = ground_reach(CAMERA, EVERY_THIRD.hazards)
    depths = np.array([CAMERA.ground_depth(row) for row in range(0, HEIGHT, 3)])
    assert np.any((depths > reach) & (depths < math.inf))
    wanted = np.where(depths > reach, np.nan, depths)[:, None].repeat(44, axis=1)
    np.testing.assert_allclose(points["z"], wanted, rtol=1e-5)
    rows, columns = np.mgrid[:HEIGHT:3, :WIDTH:3]
    np.testing.assert_allclose(points["x"], (columns - CAMERA.cx) / CAMERA.fx * wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(points["y"], (rows - CAMERA.cy) / CAMERA.fy * wanted, rtol=1e-5, atol=1e-6)


def test_the_plane_is_that_of_a_mount_with_roll() -> None:
    half = 0.03
    level = Transform.of_mount(1.5, 0.08)
    rolled = Transform.from_quaternion((0.0, 0.0, 0.0), (math.sin(half), 0.0, 0.0, math.cos(half))) @ level
    points = ground_points(perceived(mount=Mount(rolled, "base_link")), Settings(points_decimation=1))
    place = places(points)
    seen = np.isfinite(points["z"])
    assert np.array_equal(np.isfinite(place).all(axis=-1), seen)
    on_the_road = place[seen] @ rolled.rotation.T + rolled.translation
    np.testing.assert_allclose(on_the_road[:, 2], 0.0, atol=1e-4)
    horizons = np.argmax(seen, axis=0)
    assert abs(int(horizons[0]) - int(horizons[-1])) > 3  # it leans
    assert np.all(np.diff(seen.astype(int), axis=0) >= 0)


@pytest.mark.parametrize("decimation", [1, 64])
def test_classes_and_confidences_are_those_of_the_pixel_in_all_three_outputs(decimation: int) -> None:
    known, settings = perceived(), Settings(points_decimation=decimation)
    points, open_set = ground_points(known, settings), ground_open_set(known, settings)
    confidence = ground_class_confidence(known, settings)
    assert points.shape == open_set.shape == confidence.shape
    assert open_set.dtype == confidence.dtype == np.uint8
    assert open_set.flags.c_contiguous
    np.testing.assert_array_equal(open_set, known.masks.open_set[::decimation, ::decimation])
    np.testing.assert_array_equal(points["class"], open_set)
    np.testing.assert_array_equal(points["confidence"], known.masks.confidence[::decimation, ::decimation])
    unknown = open_set == UNKNOWN
    np.testing.assert_array_equal(confidence[unknown], points["confidence"][unknown])
    np.testing.assert_array_equal(confidence[~unknown], 255 - points["confidence"][~unknown])


def test_the_next_frame_changes_neither_the_points_of_the_last_one_nor_the_road() -> None:
    first = ground_points(perceived(), EVERY_THIRD)
    kept = first.tobytes()
    second = ground_points(perceived(seed=1), EVERY_THIRD)
    assert first.tobytes() == kept
    assert not np.array_equal(first["class"], second["class"])
    np.testing.assert_array_equal(places(first), places(second))
    second["z"] = 7.0
    np.testing.assert_array_equal(places(ground_points(perceived(), EVERY_THIRD)), places(first))
    nearer = ground_points(perceived(replace(CAMERA, mount_height=1.0)), EVERY_THIRD)
    assert np.nanmin(nearer["z"]) < np.nanmin(first["z"])


def test_nothing_of_the_memory_between_the_fields_is_given_away() -> None:
    junk = [np.full(21 * 44 * POINT.itemsize, 7, np.uint8) for _ in range(16)]
    del junk
    raw = ground_points(perceived(), EVERY_THIRD).view(np.uint8).reshape(-1, POINT.itemsize)
    assert not raw[:, 14:].any()


@pytest.mark.parametrize(
    ("camera", "reason"),
    [
        (None, "needs ~/input/camera_info and the mount"),
        (replace(CAMERA, mount_height=0.0), "needs ~/input/camera_info and the mount"),
        (replace(CAMERA, pitch=-0.4), "horizon below the image"),
        (replace(CAMERA, width=99), "camera_info is for 99x61, the image is 130x61"),
    ],
)
def test_a_road_that_is_not_known_is_named(camera: Camera | None, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        ground_points(perceived(camera), EVERY_THIRD)


def test_the_example_for_the_costmap_names_every_class_once_and_outputs_of_the_node() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "nav2.md"
    (example,) = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    costmap = yaml.safe_load(example)["local_costmap"]["local_costmap"]["ros__parameters"]
    source = costmap["segmentation_layer"]["camera"]
    names = [name for kind in source["class_types"] for name in source[kind]["classes"]]
    assert sorted(names) == sorted([*(item.name for item in CITYSCAPES_CLASSES), "unknown"])
    topics = {value for key, value in source.items() if key.endswith("_topic")}
    outputs = {f"/perception/output/{name.removeprefix('publish_')}" for name in PARAMETERS if "publish_" in name}
    assert len(topics) == 4
    assert topics - outputs == {"/perception/output/label_info"}
