# SPDX-License-Identifier: Apache-2.0
"""The rendered road: picture and truth agree, seeds decide, drives approach what lies ahead."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from densehybrid_ros.datasets.rendered_road import RenderedFrame, render_drive
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES
from densehybrid_ros.errors import InputError

WIDTH, HEIGHT = 384, 192
ROAD, SKY, CAR, BUILDING, VEGETATION = 0, 10, 13, 2, 8


@pytest.fixture(scope="module")
def drive() -> list[RenderedFrame]:
    return list(render_drive(3, 12, WIDTH, HEIGHT, fps=5.0))


@pytest.fixture(scope="module")
def scenes(drive: list[RenderedFrame]) -> list[RenderedFrame]:
    return [drive[0], *(next(render_drive(seed, 1, WIDTH, HEIGHT)) for seed in range(40, 43))]


def numbers(frame: RenderedFrame) -> list[int]:
    """The unknown objects that the frame shows."""
    found: list[int] = np.unique(frame.instances[frame.instances > 0]).tolist()
    return found


def test_maps_are_of_one_shape_and_agree(scenes: list[RenderedFrame]) -> None:
    for frame in scenes:
        assert frame.image.shape == (HEIGHT, WIDTH, 3)
        maps = (frame.semantic, frame.anomaly, frame.instances, frame.disparity, frame.depth)
        assert [array.dtype.name for array in (frame.image, *maps)] == [*["uint8"] * 3, "uint16", *["float32"] * 2]
        assert all(array.shape == (HEIGHT, WIDTH) and array.flags.c_contiguous for array in maps)
        np.testing.assert_array_equal(frame.anomaly, frame.instances > 0)
        np.testing.assert_array_equal(frame.anomaly == 1, frame.semantic == 255)
        assert (frame.semantic[frame.anomaly == 0] < len(CITYSCAPES_CLASSES)).all()


def test_depth_is_that_of_plane_sky_and_disparity(scenes: list[RenderedFrame]) -> None:
    for frame in scenes:
        plane = np.array([frame.camera.ground_depth(row) for row in range(HEIGHT)], np.float32)
        below = np.broadcast_to(plane[:, None], frame.depth.shape)
        is_road, solid = frame.semantic == ROAD, np.isfinite(frame.depth)
        assert is_road.mean() > 0.1
        np.testing.assert_allclose(frame.depth[is_road], below[is_road], rtol=1e-4)
        assert (frame.depth[solid] <= below[solid] * 1.0001).all(), "nothing lies behind the road's plane"
        assert (frame.depth[solid] > 0.3).all()
        np.testing.assert_array_equal(solid, frame.semantic != SKY)
        expected = frame.camera.fx * frame.camera.baseline / frame.depth
        np.testing.assert_allclose(frame.disparity, expected, rtol=1e-5)


def test_every_scene_has_several_classes_and_visible_objects(scenes: list[RenderedFrame]) -> None:
    contrasts = []
    for frame in scenes:
        assert len(set(np.unique(frame.semantic)) - {255}) >= 6
        for number in numbers(frame):
            rows, columns = np.nonzero(frame.instances == number)
            if len(rows) > 60:
                around = np.zeros((HEIGHT, WIDTH), bool)
                around[rows.min() : rows.max() + 4, max(columns.min() - 6, 0) : columns.max() + 6] = True
                road = frame.image[around & (frame.semantic == ROAD)].astype(float).mean(axis=0)
                contrasts.append(np.abs(frame.image[rows, columns].astype(float).mean(axis=0) - road).max())
    everywhere = set().union(*(set(np.unique(frame.semantic)) for frame in scenes))
    assert {ROAD, SKY, CAR, BUILDING, VEGETATION} <= everywhere
    assert len(contrasts) >= 4
    assert np.median(contrasts) > 10


def test_seed_decides(scenes: list[RenderedFrame]) -> None:
    again, other = next(render_drive(41, 1, WIDTH, HEIGHT)), scenes[3]
    for name in ("image", "semantic", "anomaly", "instances", "disparity", "depth", "camera"):
        np.testing.assert_array_equal(getattr(scenes[2], name), getattr(again, name))
    assert (again.semantic != other.semantic).mean() > 0.05


def test_drive_approaches_objects_at_the_speed_that_it_tells(drive: list[RenderedFrame]) -> None:
    assert [frame.stamp for frame in drive] == pytest.approx([index / 5.0 for index in range(12)])
    assert sum(bool(numbers(frame)) for frame in drive) >= 9
    ratios = []
    for before, after in pairwise(drive):
        assert 7.0 < after.speed < 15.0
        for number in set(numbers(before)) & set(numbers(after)):
            far, near = (np.median(frame.depth[frame.instances == number]) for frame in (before, after))
            ratios.append((far - near) / (after.stamp - before.stamp) / (0.5 * (before.speed + after.speed)))
    assert len(ratios) >= 5
    assert np.median(ratios) == pytest.approx(1.0, abs=0.03)  # the camera nods, so single distances waver


@pytest.mark.parametrize("size", [(96, 48), (101, 67), (320, 240)])
def test_truth_does_not_depend_on_the_picture_size(size: tuple[int, int], scenes: list[RenderedFrame]) -> None:
    large, frame = scenes[1], next(render_drive(40, 1, *size))
    assert frame.image.shape == (size[1], size[0], 3)
    assert frame.camera.pitch == large.camera.pitch
    assert frame.camera.fx / size[0] == pytest.approx(large.camera.fx / WIDTH)
    for number in numbers(frame):
        depths = [np.median(each.depth[each.instances == number]) for each in (frame, large)]
        assert depths[0] == pytest.approx(depths[1], rel=0.03)


@pytest.mark.parametrize(
    "wrong", [{"seed": -1}, {"frames": 0}, {"width": 8}, {"height": 100_000}, {"fps": 0.0}], ids=str
)
def test_bad_arguments_are_named(wrong: dict[str, float]) -> None:
    valid: dict[str, float] = {"seed": 1, "frames": 1, "width": 64, "height": 32, "fps": 10.0}
    with pytest.raises(InputError, match=next(iter(wrong))):
        next(render_drive(**{**valid, **wrong}))  # type: ignore[arg-type]
