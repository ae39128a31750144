# SPDX-License-Identifier: Apache-2.0
"""Videos are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from densehybrid_ros.datasets.video_file import video_file
from densehybrid_ros.errors import InputError, OutputError


@pytest.mark.parametrize(("period", "rate"), [(100_000_000, 10.0), (33_366_700, 29.97), (0, 10.0), (4 * 10**9, 0.25)])
def test_frames_come_back_at_their_rate(tmp_path: Path, period: int, rate: float) -> None:
    path = tmp_path / "new" / "drive.mp4"
    with video_file(path, period) as add:
        for number in range(4):
            add(np.full((49, 97, 3), (200, 60 * number, 0), np.uint8))  # odd sides lose a row and a column
        add(np.full((30, 60, 3), (200, 0, 0), np.uint8))
    video = cv2.VideoCapture(str(path))
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(rate, rel=1e-3)
    frames = [video.read()[1][:, :, ::-1] for _ in range(5)]
    assert not video.read()[0]
    for number, frame in enumerate(frames[:4]):
        assert frame.shape == (48, 96, 3)
        np.testing.assert_allclose(frame.mean(axis=(0, 1)), (200, 60 * number, 0), atol=12)
    assert list(path.parent.iterdir()) == [path]


def test_nothing_is_left_of_one_that_breaks_off_or_has_no_frame(tmp_path: Path) -> None:
    path = tmp_path / "drive.mp4"
    path.write_bytes(b"before")

    def breaks_off() -> None:
        with video_file(path, 0) as add:
            add(np.zeros((16, 16, 3), np.uint8))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        breaks_off()
    with video_file(path, 0):
        pass
    assert [(item, item.read_bytes()) for item in tmp_path.iterdir()] == [(path, b"before")]


def test_where_no_video_can_be_written_the_line_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(OutputError, match="taken: can't be written"), video_file(tmp_path / "taken" / "a.mp4", 0):
        pass
    with pytest.raises(InputError, match="1x9 pixels are too small"), video_file(tmp_path / "a.mp4", 0) as add:
        add(np.zeros((9, 1, 3), np.uint8))
    assert capfd.readouterr().err == ""
