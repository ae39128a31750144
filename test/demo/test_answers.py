"""The range of the colour map, and alerts as they are recorded."""

from __future__ import annotations

import numpy as np
import pytest

from densehybrid_ros.demo.answers import Alert, color_range


@pytest.mark.parametrize(
    ("scores", "threshold"),
    [
        (np.linspace(-12, -4, 1000), -6.0),  # as usual
        (np.concatenate([np.full(900, -10.0), np.linspace(0, 500, 100)]), 5.0),  # a few far above the threshold
        (np.linspace(-12, -8, 1000), 40.0),  # all below it
        (np.linspace(-12, -8, 1000), -300.0),  # all above it
        (np.full(10, 3.0), 3.0),
        (np.array([np.nan, np.inf]), 1.0),
        (np.zeros(0), 1.0),
    ],
)
def test_the_threshold_divides_the_colours(scores: np.ndarray, threshold: float) -> None:
    low, high = color_range(scores.astype(np.float32), threshold)
    assert np.isfinite([low, high]).all()
    assert low < threshold < high
    assert 4 / 9 - 1e-6 <= (threshold - low) / (high - low) <= 0.8 + 1e-6


def test_usual_scores_are_not_clipped() -> None:
    low, high = color_range(np.linspace(-12, -4, 10_000, dtype=np.float32), -7.0)
    assert low == pytest.approx(-11.92, abs=0.01)
    assert high == pytest.approx(-4.016, abs=0.01)


def test_box_of_the_largest_region() -> None:
    sides = {"largest_left": "3", "largest_top": "4", "largest_width": "50", "largest_height": "6"}
    alert = Alert(True, "1 unknown region", {"largest_area_px": "200", **sides})
    assert alert.largest_box == (3, 4, 50, 6)
    assert alert.largest_area == 200
    assert Alert(False, "no hazard", {}).largest_box is None
    assert Alert(False, "no hazard", {}).largest_area == 0
