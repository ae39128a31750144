# SPDX-License-Identifier: Apache-2.0
"""Features of hand-made regions, and what a chain with a classifier drops and keeps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from densehybrid_ros.confidence import REGION_FEATURES, Confidence, RegionClassifier
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES
from densehybrid_ros.hazards import HazardChain, HazardFrame, HazardSettings

HEIGHT, WIDTH = 256, 512
ROAD, BUILDING, CAR, BUS = 0, 2, 13, 15
AT_ONCE = HazardSettings(trigger_count=1, trigger_window=1)
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
    found = HazardChain(CITYSCAPES_CLASSES, Confidence(0.0, 1.0)).candidates(semantic, score, score > 0, 0.0, AT_ONCE)
    table = found.features(score, semantic, CITYSCAPES_CLASSES, floor)
    return [dict(zip(REGION_FEATURES, row, strict=True)) for row in table.tolist()]


def judge(classifier: RegionClassifier | None, settings: HazardSettings = AT_ONCE) -> HazardFrame:
    semantic, score = scene()
    chain = HazardChain(CITYSCAPES_CLASSES, Confidence(0.0, 1.0), classifier)
    return chain.update(0.0, semantic, score, score > 0, 0.0, settings)


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


def test_features_do_not_depend_on_the_size_of_the_picture() -> None:
    semantic, score = scene()
    small = features(semantic, score)
    large = features(*(np.kron(item, np.ones((4, 4), item.dtype)) for item in (semantic, score)))
    for one, other in zip(small, large, strict=True):
        assert one == pytest.approx(other, abs=0.05)


def test_no_region_has_no_features() -> None:
    semantic, score = scene()
    assert features(semantic, np.full_like(score, -9.0)) == []
    chain = HazardChain(CITYSCAPES_CLASSES, Confidence(0.0, 1.0), BY_MEAN)
    assert chain.update(0.0, semantic, score, score > 9, 9.0, AT_ONCE).hazards == ()


def test_what_is_less_likely_an_obstacle_is_dropped() -> None:
    assert [hazard.region.width for hazard in judge(None).hazards] == [40, 20]
    (hazard,) = judge(BY_MEAN).hazards
    assert hazard.region.width == 20
    assert hazard.probability == pytest.approx(1 / (1 + np.exp(-1.0)))
    assert len(judge(BY_MEAN, replace(AT_ONCE, hazard_probability=0.2)).hazards) == 2
    assert judge(BY_MEAN, replace(AT_ONCE, hazard_probability=0.8)).hazards == ()
