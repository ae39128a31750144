# SPDX-License-Identifier: Apache-2.0
"""What lies flat in the road by disparity, and what a classifier takes for no obstacle, is no hazard."""

from __future__ import annotations

from dataclasses import replace
from itertools import starmap

import numpy as np
import pytest

from densehybrid_ros.confidence import REGION_FEATURES, Confidence, RegionClassifier
from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.datasets.rendered_road import render_drive, standard_camera
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES
from densehybrid_ros.hazards import HazardChain, HazardFrame, HazardSettings
from densehybrid_ros.hazards.region_points import region_points
from densehybrid_ros.hazards.regions import find_clusters, largest_regions

CAMERA = standard_camera(1024, 512)
AT_ONCE = HazardSettings(trigger_count=1, trigger_window=1)
SETTINGS = replace(AT_ONCE, on_road_only=False)
PATCH = (slice(400, 440), slice(500, 580))  # about 9 m ahead
CHAIN = HazardChain(CITYSCAPES_CLASSES, Confidence(0.0, 1.0))


def road(height: float = 0.0) -> np.ndarray:
    """Disparity of an empty road, or of a plane that lies higher."""
    rows = np.arange(CAMERA.height)
    depth = np.array([replace(CAMERA, mount_height=CAMERA.mount_height - height).ground_depth(row) for row in rows])
    return np.tile((CAMERA.fx * CAMERA.baseline / depth).astype(np.float32)[:, None], (1, CAMERA.width))


def hazards(disparity: np.ndarray, camera: Camera = CAMERA, settings: HazardSettings = SETTINGS) -> int:
    """Number of regions with an anomalous patch on the road."""
    score = np.full(disparity.shape, -9.0, np.float32)
    score[PATCH] = 3.0
    semantic = np.zeros(disparity.shape, np.uint8)
    return len(CHAIN.detect(semantic, score, score > 0, 0.0, settings, camera, disparity).regions)


def noisy(disparity: np.ndarray) -> np.ndarray:
    return disparity + np.random.default_rng(0).normal(0.0, 0.3, disparity.shape).astype(np.float32)


def test_flat_is_no_hazard_whatever_the_nodding() -> None:
    for nod in (0.0, -0.01, 0.01):
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


def test_no_obstacle_of_the_rendered_road_is_flat_and_its_road_is() -> None:
    patches = flat = kept = 0
    camera = standard_camera(512, 256)
    for frame in render_drive(3, 3, 512, 256, fps=2.0):
        noise = np.random.default_rng(0).normal(0.0, 0.25, frame.disparity.shape).astype(np.float32)
        disparity = np.where(frame.disparity > 0, frame.disparity + noise, np.float32(0))
        patch = np.zeros(frame.semantic.shape, bool)
        patch[200:215, 190:210] = True
        patch &= (frame.semantic == 0) & (frame.anomaly == 0)
        for mask in (patch, *(frame.instances == item for item in np.unique(frame.instances)[1:])):
            score = np.where(mask, np.float32(3), np.float32(-9))
            with_it, without = (
                len(CHAIN.detect(frame.semantic, score, mask, 0.0, settings, camera, disparity).regions)
                for settings in (SETTINGS, replace(SETTINGS, flat_height=0.0))
            )
            if mask is patch:
                patches, flat = patches + without, flat + without - with_it
            else:
                assert with_it == without
                kept += with_it
    assert flat == patches >= 2
    assert kept >= 4


def test_the_points_of_a_region_are_its_own_where_another_lies_in_its_margin() -> None:
    unknown = np.zeros((128, 256), bool)
    unknown[40:60, 40:80] = unknown[62:82, 40:80] = unknown[40:60, 84:124] = True
    clusters = find_clusters(unknown, 20)
    regions, _ = largest_regions(clusters, np.arange(1, len(clusters.pixels)), unknown, 20, 9)
    points = region_points(regions, unknown)
    assert len(regions) == 3
    for region, rows, columns, own in zip(regions, points.rows[:, :, 0], points.columns[:, 0], points.own, strict=True):
        inside = (rows >= region.top) & (rows < region.top + region.height)
        across = (columns >= region.left) & (columns < region.left + region.width)
        np.testing.assert_array_equal(own, inside[:, None] & across)
        assert not inside.all()


HEIGHT, WIDTH = 256, 512
ROAD, BUILDING, CAR, BUS = 0, 2, 13, 15
NEAR, FAR = (slice(180, 210), slice(100, 140)), (slice(130, 142), slice(300, 320))
BY_MEAN = RegionClassifier(
    -10.0, 0.0, {name: (4.0 if name == "mean" else 0.0, 1.0, float(name == "mean")) for name in REGION_FEATURES}
)
"""P is one half at a mean score of 4 nats."""


def scene() -> tuple[np.ndarray, np.ndarray]:
    """A road with a near region of 3 nats, one of its pixels 6, and a far one of 5; about both -9; semantics, score."""
    semantic = np.full((HEIGHT, WIDTH), BUILDING, np.uint8)
    semantic[110:] = ROAD
    score = np.full((HEIGHT, WIDTH), -9.0, np.float32)
    score[NEAR], score[FAR], score[185:190, 105:115] = 3.0, 5.0, 6.0
    return semantic, score


def features(semantic: np.ndarray, score: np.ndarray, floor: float = -20.0) -> list[dict[str, float]]:
    """Features of the regions above 0 nats, the largest first."""
    found = CHAIN.detect(semantic, score, score > 0, 0.0, AT_ONCE)
    table = found.features(score, semantic, CITYSCAPES_CLASSES, floor)
    return [dict(zip(REGION_FEATURES, row, strict=True)) for row in table.tolist()]


def test_places_sizes_and_scores() -> None:
    near, far = features(*scene())
    assert (near["foot_row"], far["foot_row"]) == (210 / HEIGHT, 142 / HEIGHT)
    assert near["size"] == pytest.approx(np.log(1200 / (HEIGHT * WIDTH)))
    assert near["size_for_row"] == pytest.approx(near["size"] - 2 * np.log(210 / HEIGHT - 0.42))
    assert near["size_for_row"] < far["size_for_row"]  # it is nearer, so it should be larger
    assert (near["peak"], far["peak"], far["mean"]) == (6.0, 5.0, 5.0)
    assert near["mean"] == pytest.approx(3.0 + 3 * 50 / 1200, abs=0.1)
    assert far["contrast"] == 14.0
    assert (far["rim_score"], far["road"]) == (-9.0, 1.0)
    semantic, score = scene()
    assert features(semantic, np.full_like(score, -9.0)) == []
    large = features(*starmap(np.kron, ((item, np.ones((4, 4), item.dtype)) for item in (semantic, score))))
    for one, other in zip((near, far), large, strict=True):
        assert one == pytest.approx(other, abs=0.05)


def test_shares_of_classes_and_scores_about_a_region() -> None:
    semantic, score = scene()
    semantic[NEAR][:, :20], semantic[NEAR][:, 20:] = CAR, BUS
    semantic[:, 300:][semantic[:, 300:] == ROAD] = BUILDING
    semantic[140:150, 290:330] = ROAD  # what the far one stands on
    score[NEAR[0], 140:150] = -2.0
    near, far = features(semantic, score, floor=-5.0)
    assert (near["car"], near["lorry"], near["road"]) == (0.5, 0.5, 1.0)
    assert 0.4 < far["road"] < 0.7
    assert (near["rim_score"], far["rim_score"]) == (-2.0, -5.0)
    assert far["contrast"] == 10.0  # lower scores count as the floor


def test_what_is_less_likely_an_obstacle_is_dropped() -> None:
    semantic, score = scene()

    def judge(classifier: RegionClassifier | None, least: float = 0.5, threshold: float = 0.0) -> HazardFrame:
        chain, settings = HazardChain(CITYSCAPES_CLASSES, Confidence(0.0, 1.0), classifier), AT_ONCE
        settings = replace(AT_ONCE, hazard_probability=least)
        return chain.update(0.0, semantic, score, score > threshold, threshold, settings)

    assert [hazard.region.width for hazard in judge(None).hazards] == [40, 20]
    (hazard,) = judge(BY_MEAN).hazards
    assert hazard.region.width == 20
    assert hazard.probability == pytest.approx(1 / (1 + np.exp(-1.0)))
    assert len(judge(BY_MEAN, 0.2).hazards) == 2
    assert judge(BY_MEAN, 0.8).hazards == judge(BY_MEAN, threshold=9.0).hazards == ()
