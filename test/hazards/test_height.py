# SPDX-License-Identifier: Apache-2.0
"""What lies flat in the road by disparity is no hazard; what stands up, or of which little is known, stays one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from densehybrid_ros.confidence import Confidence
from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.datasets.rendered_road import RenderedFrame, render_drive, standard_camera
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES
from densehybrid_ros.hazards import HazardChain, HazardSettings

CAMERA = standard_camera(1024, 512)
SETTINGS = HazardSettings(trigger_count=1, trigger_window=1, on_road_only=False)
PATCH = (slice(400, 440), slice(500, 580))  # about 9 m ahead


def road(height: float = 0.0) -> np.ndarray:
    """Disparity of an empty road, or of a plane that lies higher."""
    rows = np.arange(CAMERA.height)
    depth = np.array([replace(CAMERA, mount_height=CAMERA.mount_height - height).ground_depth(row) for row in rows])
    return np.tile((CAMERA.fx * CAMERA.baseline / depth).astype(np.float32)[:, None], (1, CAMERA.width))


def hazards(disparity: np.ndarray, camera: Camera = CAMERA, settings: HazardSettings = SETTINGS) -> int:
    """Number of hazards with an anomalous patch on the road."""
    score = np.full(disparity.shape, -9.0, np.float32)
    score[PATCH] = 3.0
    chain = HazardChain(CITYSCAPES_CLASSES, Confidence(0.0, 1.0))
    semantic = np.zeros(disparity.shape, np.uint8)
    return len(chain.update(0.0, semantic, score, score > 0, 0.0, settings, camera, disparity).hazards)


def noisy(disparity: np.ndarray) -> np.ndarray:
    return disparity + np.random.default_rng(0).normal(0.0, 0.3, disparity.shape).astype(np.float32)


def test_flat_is_no_hazard_whatever_the_nodding() -> None:
    assert hazards(noisy(road())) == 0
    for nod in (-0.01, 0.01):
        assert hazards(noisy(road()), replace(CAMERA, pitch=CAMERA.pitch + nod)) == 0
    assert hazards(noisy(road()), settings=replace(SETTINGS, flat_height=0.0)) == 1


@pytest.mark.parametrize("height", [0.15, -0.15])
def test_what_stands_up_or_lies_deeper_is_one(height: float) -> None:
    disparity = road()
    part = PATCH[0], slice(500, 530)  # of the patch; the rest is its shadow
    disparity[part] = road(height)[part]
    assert hazards(noisy(disparity)) == 1


def test_what_is_not_known_is_one() -> None:
    hole, lonely, few = road(), np.full_like(road(), np.nan), road()
    hole[PATCH] = 0.0
    lonely[PATCH] = road()[PATCH]
    few[PATCH[0], 500:550] = 0.0
    for disparity in (hole, lonely, few):
        assert hazards(disparity) == 1
    for camera in (replace(CAMERA, mount_height=0.0), replace(CAMERA, baseline=0.0)):
        assert hazards(road(), camera) == 1
    most = np.random.default_rng(0).random(road().shape) < 0.8
    assert hazards(np.where(most, road(), np.float32(0))) == 0


@pytest.fixture(scope="module")
def drive() -> list[RenderedFrame]:
    return list(render_drive(3, 6, 1024, 512, fps=2.0))


def test_no_obstacle_of_the_rendered_road_is_flat_and_its_road_is(drive: list[RenderedFrame]) -> None:
    near = flat = kept = 0
    for frame in drive:
        noise = np.random.default_rng(0).normal(0.0, 0.25, frame.disparity.shape).astype(np.float32)
        disparity = np.where(frame.disparity > 0, frame.disparity + noise, np.float32(0))
        camera = replace(CAMERA, mount_height=1.22)
        patch = np.zeros(frame.semantic.shape, bool)
        patch[400:430, 380:420] = True
        patch &= (frame.semantic == 0) & (frame.anomaly == 0)
        objects = ((frame.instances == number, False) for number in np.unique(frame.instances)[1:])
        for mask, is_patch in ((patch, True), *objects):
            score = np.where(mask, np.float32(3), np.float32(-9))
            found = HazardChain(CITYSCAPES_CLASSES, Confidence(0.0, 1.0)).candidates
            with_it, without = (
                len(found(frame.semantic, score, mask, 0.0, settings, camera, disparity).regions)
                for settings in (SETTINGS, replace(SETTINGS, flat_height=0.0))
            )
            if is_patch:
                near, flat = near + without, flat + without - with_it
            else:
                assert with_it == without
                kept += with_it
    assert near >= 5
    assert flat == near
    assert kept >= 10
