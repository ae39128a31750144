# SPDX-License-Identifier: Apache-2.0
"""The thresholds that a drive is swept at; the sweep itself is tested by the command."""

from __future__ import annotations

import numpy as np
import pytest

from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.kept_drive import sweep_thresholds


def test_chosen_thresholds_rise_to_where_no_pixel_is_unknown() -> None:
    scores = np.random.default_rng(0).normal(0.0, 0.02, 10_000).astype(np.float32)
    floor = float(np.quantile(scores, 0.9))
    thresholds = sweep_thresholds(scores[scores > floor], floor, [0.031_25, -5.0], 25)
    assert list(thresholds) == sorted(set(thresholds))
    assert 15 <= len(thresholds) <= 26
    assert floor <= thresholds[0] < floor + 0.01
    assert 0.031_25 in thresholds
    assert -5.0 not in thresholds
    assert thresholds[-1] > scores.max()
    with pytest.raises(InputError, match="no score varies over the drive: name the thresholds with --thresholds"):
        sweep_thresholds(np.zeros(0, np.float32), 1.0, [], 25)
