# SPDX-License-Identifier: Apache-2.0
"""How good the hazard stage is on the rendered road, where the truth is exact."""

from __future__ import annotations

import numpy as np
import pytest

from densehybrid_ros.datasets.rendered_road import RenderedFrame, render_drive, standard_camera
from densehybrid_ros.hazards import HazardSettings, Source
from rehearsal import (
    ImitatedDetector,
    Rehearsal,
    false_alarms_at,
    without_tracker,
)

WIDTH, HEIGHT, FRAMES = 512, 256, 14
CAMERA = standard_camera(WIDTH, HEIGHT)
SETTINGS = HazardSettings(min_hazard_area=16)


@pytest.fixture(scope="module")
def drive() -> list[RenderedFrame]:
    return list(render_drive(6, FRAMES, WIDTH, HEIGHT))  # of many obstacles that none hides


@pytest.fixture(scope="module")
def sure(drive: list[RenderedFrame]) -> dict[Source, Rehearsal]:
    """A detector that misses nothing, with and without disparity."""
    rehearsals = {
        Source.DISPARITY: Rehearsal(SETTINGS, CAMERA),
        Source.GROUND_PLANE: Rehearsal(SETTINGS, CAMERA, use_disparity=False),
    }
    detector = ImitatedDetector(1, false_regions=0.0, obstacle_score=8.0, spread=0.0)
    for frame in drive:
        seen = detector.look(frame)
        for rehearsal in rehearsals.values():
            rehearsal.add(seen)
    return rehearsals


@pytest.mark.parametrize("source", [Source.DISPARITY, Source.GROUND_PLANE])
def test_positions_lie_within_their_stated_uncertainty(sure: dict[Source, Rehearsal], source: Source) -> None:
    figures = sure[source].figures
    assert set(figures.errors) == {source.value}
    errors = np.array(figures.errors[source.value])
    assert len(errors) > 2 * FRAMES
    assert figures.coverage(source, 2.0) >= 0.9
    # What is stated is of the errors' own size, not so large as to cover anything.
    assert np.median(errors[:, 1]) < 12 * np.median(np.abs(errors[:, 0]))


@pytest.mark.parametrize("source", [Source.DISPARITY, Source.GROUND_PLANE])
def test_no_obstacle_changes_its_id_and_alerts_come_as_configured(
    sure: dict[Source, Rehearsal], source: Source
) -> None:
    figures = sure[source].figures
    assert len(figures.latencies) >= 3
    assert figures.id_switches == 0
    assert set(figures.latencies) == {SETTINGS.trigger_count - 1}


def test_tracker_has_fewer_false_alarms_at_equal_recall(drive: list[RenderedFrame]) -> None:
    detector = ImitatedDetector(2, false_regions=2.0)
    thresholds = (-6.0, -3.0, -1.0, 0.0, 1.0, 2.0, 4.0)
    tracked = [Rehearsal(SETTINGS, CAMERA, threshold) for threshold in thresholds]
    alone = [Rehearsal(without_tracker(SETTINGS), CAMERA, threshold) for threshold in thresholds]
    for frame in drive:
        seen = detector.look(frame)
        for rehearsal in (*tracked, *alone):
            rehearsal.add(seen)
    for recall in (0.6, 0.7):
        with_tracker, without = (
            false_alarms_at(recall, [item.figures for item in items]) for items in (tracked, alone)
        )
        assert with_tracker < 0.7 * without
