# SPDX-License-Identifier: Apache-2.0
"""What is proposed as ego mask: bonnet, borders and spots are in, what moves or lies ahead is out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from densehybrid_ros.evaluation.ego_mask_proposal import EgoMaskProposal

SHAPE = (120, 240)
Paint = Callable[[np.ndarray, int], None]
"""Sets what is unknown in the score of a frame by its number."""


def _proposed(paint: Paint, speed: float | None = None, frames: int = 100) -> tuple[np.ndarray | None, bool]:
    proposal = EgoMaskProposal(0.0)
    for number in range(frames):
        score = np.full(SHAPE, -1.0, np.float32)
        paint(score, number)
        proposal.update(score, speed)
    return proposal.compute(20)


def _bonnet(score: np.ndarray, number: int) -> None:
    score[105:112, 40:200] = 1.0  # its rim, the rest reflects the sky
    score[112:, 40:200] = 1.0 if number % 5 < 3 else -1.0


def _drive(score: np.ndarray, number: int) -> None:
    _bonnet(score, number)
    score[40 : 44 + number, 5 * number : 5 * number + 10] = 1.0  # passes by
    score[0, 0] = 1.0  # a single pixel
    score[30:34, 40:46] = 1.0  # dirt on the lens
    score[:, 236:] = 1.0  # a border


@pytest.mark.parametrize(("speed", "is_found"), [(10.0, True), (None, True), (0.0, False)])
def test_bonnet_border_and_dirt_are_in_while_the_car_moves(speed: float | None, is_found: bool) -> None:
    mask, left_out = _proposed(_drive, speed)
    assert (mask is not None) is is_found
    assert not left_out
    if mask is not None:
        assert mask[105:, 40:200].all()
        assert mask[30:34, 40:46].all()
        assert mask[:, 236:].all()
        assert not mask[38:100, 32:230].any()
        assert not mask[0, :200].any()
        assert mask.mean() < 0.15


def test_a_bonnet_is_filled_up_to_the_border() -> None:
    def rim(score: np.ndarray, number: int) -> None:
        score[100:104] = 1.0

    mask, _ = _proposed(rim)
    assert mask is not None
    assert mask[100:].all()
    assert not mask[:98].any()


@pytest.mark.parametrize(
    "where",
    [
        np.s_[60:, :],  # an unfamiliar road
        np.s_[50:, 100:140],  # the way ahead, down to the border
        np.s_[55:60, 110:116],  # an obstacle that the car drives towards
        np.s_[20:35, 20:50],  # a vehicle beside, large
        np.s_[:, :],
    ],
    ids=["road", "way", "obstacle", "beside", "all"],
)
def test_what_is_no_own_vehicle_is_left_out_and_told(where: tuple[slice, slice]) -> None:
    def paint(score: np.ndarray, number: int) -> None:
        score[where] = 1.0

    assert _proposed(paint) == (None, True)

    def beside_a_mount(score: np.ndarray, number: int) -> None:
        score[where] = score[:10, :15] = 1.0

    mask, left_out = _proposed(beside_a_mount)
    assert left_out
    assert mask is None or mask.mean() < 0.02


def test_a_short_drive_and_a_few_pixels_propose_less() -> None:
    mask, left_out = _proposed(_drive, frames=99)
    assert left_out
    assert mask is not None
    assert not mask[30:34, 40:46].any(), "what is far away is no spot"

    def few(score: np.ndarray, number: int) -> None:
        score[116:, 5:8] = 1.0

    assert _proposed(_bonnet, frames=9) == (None, False)
    assert _proposed(few) == (None, False)
