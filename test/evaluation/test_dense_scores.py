# SPDX-License-Identifier: Apache-2.0
"""Several walks over a data set: what fits into memory is scored once, the rest again, and every walk is the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_frames import write_small_frames

from densehybrid_ros.datasets.evaluation_set import EvaluationFrame
from densehybrid_ros.datasets.registry import open_evaluation_set
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.dense_scores import LeftOut, ScoredFrame, ScoredSet, spread


class Counting:
    """Scores a frame by its brightness, and notes which frames it was asked for; the second has no score."""

    name, scores, judged, device = "brightness", ["hybrid"], "hybrid", torch.device("cpu")
    classes, input_size = (), None

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, index: int, frame: EvaluationFrame) -> ScoredFrame:
        self.asked.append(index)
        if index == 1:
            raise InputError("frame 1: none")
        score = torch.from_numpy(frame.image.mean(axis=2, dtype=np.float32))
        return ScoredFrame(index, frame, {"hybrid": score}, torch.zeros(score.shape, dtype=torch.uint8))


@pytest.mark.parametrize(("frames_kept", "again"), [(9, []), (2, [3]), (1, [2, 3]), (0, [0, 1, 2, 3])])
def test_frames_that_fit_are_scored_once(frames_kept: int, again: list[int], tmp_path: Path) -> None:
    root = write_small_frames(tmp_path)
    (root / "train").rename(root / "both")
    for part in ("image", "label"):
        for path in (root / "both" / part).iterdir():
            path.rename(root / "val" / part / path.name)
    dataset, scorer = open_evaluation_set("cityscapes_640", root), Counting()
    one_frame = scorer(0, dataset[0]).nbytes
    scorer.asked.clear()
    frames = ScoredSet(scorer, dataset, [0, 1, 2, 3], frames_kept * one_frame + 1 if frames_kept else 0)
    first = list(frames.walk("one"))
    assert scorer.asked == [0, 1, 2, 3]
    second = list(frames.walk("two"))
    assert scorer.asked[4:] == again
    for one, two in zip(first, second, strict=True):
        if isinstance(one, LeftOut) or isinstance(two, LeftOut):
            assert one == two == LeftOut("frame 1: none")
        else:
            assert (one.index, one.frame.name) == (two.index, two.frame.name)
            assert torch.equal(one.scores["hybrid"], two.scores["hybrid"])
    with pytest.raises(InputError, match="frame 1: none"):
        list(frames.walk_all("three"))


def test_a_subset_is_spread_from_the_first_to_the_last() -> None:
    assert (spread(3, None), spread(3, 9), spread(9, 1)) == ([0, 1, 2], [0, 1, 2], [0])
    assert spread(10, 4) == [0, 3, 6, 9]
