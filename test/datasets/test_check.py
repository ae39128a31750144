# SPDX-License-Identifier: Apache-2.0
"""Looking through a data set before training."""

from __future__ import annotations

from pathlib import Path

import official_layouts as layouts
import pytest

from densehybrid_ros.datasets.check import check_frames
from densehybrid_ros.datasets.registry import open_training_set


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return layouts.wilddash_panoptic(tmp_path, 31)


def test_a_sound_set_has_no_fault(root: Path) -> None:
    assert check_frames(open_training_set("wilddash2", root)).faults == []


def test_faults_are_lines_that_name_the_file(root: Path) -> None:
    frames = open_training_set("wilddash2", root)
    frames.files[2].image.write_bytes(b"no picture")
    frames.files[9].label.unlink()
    faults = check_frames(frames).faults
    assert faults == [
        f"{frames.files[2].image}: truncated or not a picture",
        f"{frames.files[9].label}: can't be read (No such file or directory)",
    ]


def test_it_stops_after_enough_faults(root: Path) -> None:
    frames = open_training_set("wilddash2", root)
    for files in frames.files:
        files.image.write_bytes(b"")
    faults = check_frames(frames, stop_after=3).faults
    assert len(faults) == 3
    assert frames.files[0].image.name in faults[0]
