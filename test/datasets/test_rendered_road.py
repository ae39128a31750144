# SPDX-License-Identifier: Apache-2.0
"""The rendered road: picture and truth agree, seeds decide, drives approach what lies ahead."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from densehybrid_ros.datasets.rendered_road import RenderedFrame, render_drive, render_scene
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES
from densehybrid_ros.errors import InputError

WIDTH, HEIGHT = 384, 192
ROAD, SKY, CAR = 0, 10, 13


@pytest.fixture(scope="module")
def scenes() -> list[RenderedFrame]:
    return [render_scene(seed, WIDTH, HEIGHT) for seed in range(40, 46)]


@pytest.fixture(scope="module")
def drive() -> list[RenderedFrame]:
    return list(render_drive(3, 12, WIDTH, HEIGHT, fps=5.0))


def test_types_and_shapes(scenes: list[RenderedFrame]) -> None:
    for frame in scenes:
        assert frame.image.shape == (HEIGHT, WIDTH, 3)
        assert frame.image.dtype == frame.semantic.dtype == frame.anomaly.dtype == np.uint8
        assert frame.instances.dtype == np.uint16
        assert frame.disparity.dtype == frame.depth.dtype == np.float32
        for array in (frame.image, frame.semantic, frame.anomaly, frame.instances, frame.disparity, frame.depth):
            assert array.shape[:2] == (HEIGHT, WIDTH)
            assert array.flags.c_contiguous


def test_road_depth_is_that_of_the_plane(scenes: list[RenderedFrame]) -> None:
    for frame in scenes:
        plane = np.array([frame.camera.ground_depth(row) for row in range(HEIGHT)])
        rows, columns = np.nonzero(frame.semantic == ROAD)
        assert len(rows) > 0.1 * WIDTH * HEIGHT
        np.testing.assert_allclose(frame.depth[rows, columns], plane[rows], rtol=1e-4)


def test_speed_is_that_at_which_standing_objects_come_nearer(drive: list[RenderedFrame]) -> None:
    travelled = []
    for before, after in pairwise(drive):
        later = {item.id: item for item in after.objects}
        nearer = [item.distance - later[item.id].distance for item in before.objects if item.id in later]
        seconds = after.stamp - before.stamp
        travelled += [(value / seconds, 0.5 * (before.speed + after.speed)) for value in nearer]
    assert len(travelled) >= 5
    found, told = np.median(travelled, axis=0)  # the camera nods and turns a little, so single distances waver
    assert found == pytest.approx(told, rel=0.03)


def test_nothing_lies_behind_the_road_plane(scenes: list[RenderedFrame]) -> None:
    for frame in scenes:
        plane = np.array([frame.camera.ground_depth(row) for row in range(HEIGHT)], np.float32)
        solid = np.isfinite(frame.depth)
        below = np.broadcast_to(plane[:, None], frame.depth.shape)[solid]
        assert (frame.depth[solid] <= below * 1.0001).all()


def test_disparity_belongs_to_depth(scenes: list[RenderedFrame]) -> None:
    for frame in scenes:
        solid = np.isfinite(frame.depth)
        assert (frame.depth[solid] > 0.3).all()
        expected = frame.camera.fx * frame.camera.baseline / frame.depth[solid]
        np.testing.assert_allclose(frame.disparity[solid], expected, rtol=1e-5)
        assert (frame.disparity[~solid] == 0).all()


def test_sky_is_infinite_and_nothing_else_is(scenes: list[RenderedFrame]) -> None:
    for frame in scenes:
        np.testing.assert_array_equal(np.isinf(frame.depth), frame.semantic == SKY)


def test_labels_agree(scenes: list[RenderedFrame]) -> None:
    for frame in scenes:
        unknown = frame.anomaly == 1
        assert set(np.unique(frame.anomaly)) <= {0, 1, 255}
        np.testing.assert_array_equal(unknown, frame.instances > 0)
        assert (frame.semantic[unknown] == 255).all()
        assert (frame.semantic[frame.anomaly == 0] < len(CITYSCAPES_CLASSES)).all()
        assert {item.id for item in frame.objects} == set(np.unique(frame.instances)) - {0}


def test_objects_lie_where_they_are_said_to(scenes: list[RenderedFrame]) -> None:
    seen = 0
    for frame in scenes:
        distances = [item.distance for item in frame.objects]
        assert distances == sorted(distances)
        for item in frame.objects:
            mask = frame.instances == item.id
            assert mask.sum() == item.visible_pixels
            reach = 0.5 * math.hypot(*item.size) + 0.02
            assert abs(float(np.median(frame.depth[mask])) - item.distance) <= reach
            column = float(np.nonzero(mask)[1].mean())
            lateral = (column - frame.camera.cx) / frame.camera.fx * item.distance
            assert abs(lateral - item.lateral) <= reach + item.distance / frame.camera.fx
            assert 0.03 < max(item.size) < 2.0
            seen += 1
    assert seen >= 10


def test_every_scene_has_a_road_a_sky_and_several_classes(scenes: list[RenderedFrame]) -> None:
    for frame in scenes:
        present = set(np.unique(frame.semantic))
        assert ROAD in present
        assert len(present - {255}) >= 6
    everywhere = set().union(*(set(np.unique(frame.semantic)) for frame in scenes))
    assert {SKY, CAR, 2, 8} <= everywhere


def test_objects_differ_from_the_road_in_the_picture(scenes: list[RenderedFrame]) -> None:
    contrasts = []
    for frame in scenes:
        for item in frame.objects:
            if item.visible_pixels > 60:
                rows, columns = np.nonzero(frame.instances == item.id)
                around = np.zeros((HEIGHT, WIDTH), bool)
                around[rows.min() : rows.max() + 4, max(columns.min() - 6, 0) : columns.max() + 6] = True
                road = around & (frame.semantic == ROAD)
                own = frame.image[rows, columns].astype(float).mean(axis=0)
                contrasts.append(np.abs(own - frame.image[road].astype(float).mean(axis=0)).max())
    assert len(contrasts) >= 4
    assert np.median(contrasts) > 10


def test_same_seed_same_scene() -> None:
    first, second = render_scene(7, 192, 96), render_scene(7, 192, 96)
    for name in ("image", "semantic", "anomaly", "instances", "disparity", "depth"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.objects == second.objects
    assert first.camera == second.camera


def test_other_seed_other_scene() -> None:
    first, second = render_scene(7, 192, 96), render_scene(8, 192, 96)
    assert (first.semantic != second.semantic).mean() > 0.05


def test_without_unknown_objects() -> None:
    frame = render_scene(9, WIDTH, HEIGHT, unknown_objects=False)
    assert not frame.objects
    assert not frame.instances.any()
    assert not (frame.anomaly == 1).any()


def test_drive_is_repeatable(drive: list[RenderedFrame]) -> None:
    again = list(render_drive(3, 12, WIDTH, HEIGHT, fps=5.0))
    for first, second in zip(drive, again, strict=True):
        np.testing.assert_array_equal(first.image, second.image)
        np.testing.assert_array_equal(first.depth, second.depth)


def test_drive_stamps(drive: list[RenderedFrame]) -> None:
    assert [frame.stamp for frame in drive] == pytest.approx([index / 5.0 for index in range(12)])


def test_drive_approaches_objects_at_road_speed(drive: list[RenderedFrame]) -> None:
    tracks: dict[int, list[tuple[float, float]]] = {}
    for frame in drive:
        for item in frame.objects:
            tracks.setdefault(item.id, []).append((frame.stamp, item.distance))
    long = [track for track in tracks.values() if len(track) >= 4]
    assert len(long) >= 2
    for track in long:
        for (t0, d0), (t1, d1) in pairwise(track):
            assert 7.0 < (d0 - d1) / (t1 - t0) < 15.0


def test_drive_mostly_shows_an_object(drive: list[RenderedFrame]) -> None:
    assert sum(bool(frame.objects) for frame in drive) >= 9


def test_unknown_objects_keep_kind_and_size_through_a_drive(drive: list[RenderedFrame]) -> None:
    kinds: dict[int, set[tuple[str, tuple[float, float, float]]]] = {}
    for frame in drive:
        for item in frame.objects:
            kinds.setdefault(item.id, set()).add((item.kind, item.size))
    assert kinds
    assert all(len(values) == 1 for values in kinds.values())


def test_truth_does_not_depend_on_the_picture_size() -> None:
    small, large = render_scene(41, 192, 96), render_scene(41, 384, 192)
    assert small.camera.pitch == large.camera.pitch
    assert small.camera.fx * 2 == pytest.approx(large.camera.fx)
    near = {item.id: item for item in large.objects}
    for item in small.objects:
        assert item.distance == pytest.approx(near[item.id].distance)


@pytest.mark.parametrize("size", [(96, 48), (101, 67), (320, 240)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    frame = render_scene(5, *size)
    assert frame.image.shape == (size[1], size[0], 3)
    assert np.isfinite(frame.disparity).all()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"seed": -1}, "seed"),
        ({"frames": 0}, "frames"),
        ({"width": 8}, "width"),
        ({"height": 100_000}, "height"),
        ({"fps": 0.0}, "fps"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, float], named: str) -> None:
    valid: dict[str, float] = {"seed": 1, "frames": 1, "width": 64, "height": 32, "fps": 10.0}
    with pytest.raises(InputError, match=named):
        next(render_drive(**{**valid, **arguments}))  # type: ignore[arg-type]
