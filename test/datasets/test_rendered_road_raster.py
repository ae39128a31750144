# SPDX-License-Identifier: Apache-2.0
"""The z-buffer under the rendered road, against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.datasets.rendered_road.light import Light
from densehybrid_ros.datasets.rendered_road.mesh import Face, Mesh, box
from densehybrid_ros.datasets.rendered_road.objects import KINDS, unknown_object
from densehybrid_ros.datasets.rendered_road.raster import Raster, View
from densehybrid_ros.datasets.rendered_road.textures import Texture


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
