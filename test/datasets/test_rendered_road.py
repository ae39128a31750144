# SPDX-License-Identifier: Apache-2.0
"""The rendered road: picture and truth agree, seeds decide, drives approach; the z-buffer by figures of hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.datasets.rendered_road import RenderedFrame, render_drive
from densehybrid_ros.datasets.rendered_road.light import Light
from densehybrid_ros.datasets.rendered_road.mesh import Face, Mesh, Part, box, crossed, cylinder, ellipsoid
from densehybrid_ros.datasets.rendered_road.objects import KINDS, unknown_object
from densehybrid_ros.datasets.rendered_road.raster import Raster, View
from densehybrid_ros.datasets.rendered_road.textures import Texture
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


def raster(pitch: float = 0.0, yaw: float = 0.0) -> Raster:
    camera = Camera(201, 101, 100.0, 100.0, 100.0, 50.0, 0.2, pitch, 1.0)
    return Raster(View(camera, 0.0, 0.0, yaw))


def cube(distance: float, class_id: int = 13, color: tuple[float, float, float] = (200.0, 10.0, 20.0)) -> Mesh:
    return Mesh(box(2.0, 2.0, 2.0, color), class_id).placed(0.0, distance + 1.0)


def test_front_of_a_cube_lies_at_its_distance() -> None:
    buffer = raster()
    buffer.draw(cube(10.0))
    assert buffer.inverse_depth[50, 100] == pytest.approx(0.1)
    assert buffer.label[50, 100] == 13
    assert tuple(buffer.color[50, 100]) == (200, 10, 20)
    # Two metres at ten metres and 100 pixels: 20 pixels either way, and the rim's half pixel.
    columns = np.flatnonzero(buffer.label[50])
    assert (columns.min(), columns.max()) == (90, 110)


def test_nearer_things_hide_farther_ones_in_any_order() -> None:
    near, far, first, second = cube(5.0, 13), cube(12.0, 2), raster(), raster()
    for buffer, meshes in ((first, (near, far)), (second, (far, near))):
        for mesh in meshes:
            buffer.draw(mesh)
    np.testing.assert_array_equal(first.label, second.label)
    np.testing.assert_array_equal(first.inverse_depth, second.inverse_depth)
    assert first.label[50, 100] == 13


def test_turned_plane_has_the_depth_of_its_ray() -> None:
    # A wall along x = y + 10, seen by the ray (0.2, 0, 1): depth z solves 0.2 z = z - 10.
    wall = np.array([(-5.0, 5.0, 3.0), (8.0, 18.0, 3.0), (8.0, 18.0, -3.0), (-5.0, 5.0, -3.0)])
    wall[:, 0] = wall[:, 1] - 10.0
    buffer = raster()
    buffer.draw(Mesh((wall, [Face((0, 1, 2, 3), (9.0, 9.0, 9.0), two_sided=True)]), 3))
    assert 1.0 / buffer.inverse_depth[50, 120] == pytest.approx(12.5, rel=1e-5)


def test_back_faces_are_not_drawn() -> None:
    buffer = raster()
    points = np.array([(1, 9, 2), (-1, 9, 2), (-1, 9, 0), (1, 9, 0)])
    buffer.draw(Mesh((points, [Face((0, 1, 2, 3), (1.0, 1.0, 1.0))]), 3))
    assert not buffer.label.any()


@pytest.mark.parametrize(
    "part",
    [
        box(1.0, 2.0, 3.0, (1.0, 2.0, 3.0)),
        cylinder((0, 0, 0), (1, 1, 1), 0.2, (1.0, 2.0, 3.0)),
        ellipsoid((0, 0, 1), (1, 2, 0.5), (1.0, 2.0, 3.0)),
    ],
)
def test_faces_of_convex_parts_look_outwards(part: Part) -> None:
    vertices, faces = part
    for face in faces:
        corners = vertices[list(face.corners)]
        inward = crossed(corners, np.roll(corners, -1, axis=0)).sum(axis=0)
        assert inward @ (corners.mean(axis=0) - vertices.mean(axis=0)) < 0


def test_holes_of_a_texture_show_what_lies_behind() -> None:
    pixels = np.full((4, 4, 4), 255, np.uint8)
    pixels[:, :2, 3] = 0
    card = np.array([(-1.0, 5.0, 2.0), (1.0, 5.0, 2.0), (1.0, 5.0, 0.0), (-1.0, 5.0, 0.0)])  # seen from its front
    buffer = raster()
    buffer.draw(Mesh((card, [Face((0, 1, 2, 3), (0.0, 0.0, 0.0), Texture(pixels))]), 8))
    buffer.draw(cube(10.0))
    assert buffer.label[50, 93] == 13
    assert buffer.label[50, 107] == 8
    assert buffer.inverse_depth[50, 107] == pytest.approx(0.2)


def test_what_reaches_behind_the_camera_is_cut() -> None:
    floor = np.array([(-2.0, 20.0, 0.0), (2.0, 20.0, 0.0), (2.0, -5.0, 0.0), (-2.0, -5.0, 0.0)])
    buffer = raster()
    buffer.draw(Mesh((floor, [Face((0, 1, 2, 3), (5.0, 5.0, 5.0))]), 0))
    # One metre below the camera, row 75 looks down by a quarter: four metres.
    assert 1.0 / buffer.inverse_depth[75, 100] == pytest.approx(4.0, rel=1e-5)
    assert np.isfinite(buffer.inverse_depth).all()


@pytest.mark.parametrize("kind", KINDS)
def test_every_unknown_object_stands_on_the_ground_and_shows(kind: str) -> None:
    rng = np.random.default_rng(4)
    for _ in range(2):
        mesh = unknown_object(rng, 1, kind)
        assert mesh.low[2] == pytest.approx(0.0, abs=1e-9)
        assert 0.15 < float((mesh.high - mesh.low).max()) < 1.9
        buffer = raster(pitch=0.1)
        buffer.draw(mesh.placed(0.0, 4.0))
        assert (buffer.label == 255 + 256).sum() > 20


def test_light_falls_from_the_sun_and_the_shadow_away_from_it() -> None:
    light = Light((0.6, 0.0, 0.8), 0.9, 0.6)
    level, facing, averted = light.on(np.array([(0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (-1.0, 0.0, 0.0)]))
    assert level == pytest.approx(1.0)
    assert facing > averted
    shadow = light.shadows(cube(9.0))[0]
    # Two metres high under a sun at 0.8 up and 0.6 to the right: 1.5 metres to the left of the left side.
    assert shadow.outline[:, 0].min() == pytest.approx(-2.5)
    assert shadow.outline[:, 0].max() == pytest.approx(1.0)
