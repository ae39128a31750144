"""Frames to calibrate on: the rendered road, or a folder's pictures, stretched and counted."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from densehybrid_ros.errors import InputError
from densehybrid_ros.inference.calibration import calibration, folder_source


def write_pictures(folder: Path, count: int, size: tuple[int, int] = (20, 40)) -> None:
    folder.mkdir(exist_ok=True)
    for index in range(count):
        cv2.imwrite(str(folder / f"{index:03}.png"), np.full((*size, 3), index, np.uint8))


def test_the_rendered_road_at_the_networks_size() -> None:
    made = calibration((32, 64))
    assert made.source == f"{len(made.inputs)} rendered scenes"
    for images in (*made.inputs, made.held_out):
        assert images.shape == (1, 3, 32, 64)
        assert images.dtype == torch.float32
        assert 0 <= images.min() < images.max() <= 1
        assert images.is_contiguous(memory_format=torch.channels_last)
    assert not any(torch.equal(images, made.held_out) for images in made.inputs)
    assert torch.equal(made.held_out, calibration((32, 64)).held_out)


def test_pictures_of_a_folder_are_stretched_and_taken_evenly(tmp_path: Path) -> None:
    write_pictures(tmp_path / "few", 3)
    few = calibration((16, 24), tmp_path / "few")
    assert [round(float(images.mean() * 255)) for images in few.inputs] == [0, 1]
    assert round(float(few.held_out.mean() * 255)) == 2
    assert few.held_out.shape == (1, 3, 16, 24)
    assert few.source.startswith(f"3 pictures of {tmp_path / 'few'}, ")
    write_pictures(tmp_path / "many", 100)
    many = calibration((16, 24), tmp_path / "many")
    values = [round(float(images.mean() * 255)) for images in many.inputs]
    assert len(values) == 31
    assert set(np.diff(values)) == {3, 4}


def test_a_single_picture_serves_for_both(tmp_path: Path) -> None:
    write_pictures(tmp_path / "one", 1)
    made = calibration((16, 24), tmp_path / "one")
    assert len(made.inputs) == 1
    assert torch.equal(made.inputs[0], made.held_out)


def test_the_source_changes_with_the_pictures(tmp_path: Path) -> None:
    write_pictures(tmp_path / "a", 2)
    before = folder_source(tmp_path / "a")
    assert folder_source(tmp_path / "a") == before
    cv2.imwrite(str(tmp_path / "a" / "001.png"), np.full((20, 40, 3), 9, np.uint8))
    assert folder_source(tmp_path / "a") != before


def test_bad_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such folder"):
        calibration((16, 24), tmp_path / "nowhere")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"\x89PNG cut")
    with pytest.raises(InputError, match=r"a\.png: truncated or not a picture"):
        calibration((16, 24), tmp_path / "bad")
    with pytest.raises(InputError, match="give --calibration DIR"):
        calibration((16, 24))
