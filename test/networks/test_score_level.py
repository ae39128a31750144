"""The level of a score: against a reference pixel by pixel, and what it must leave alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from densehybrid_ros.errors import InputError
from densehybrid_ros.networks import HybridOutput, ScoreLevel, levelled
from densehybrid_ros.scores import hybrid

LEVEL = ScoreLevel(share=0.5, reach=2, midpoint=-100.0, softness=10.0, frame=0.1)
K = 4


def scene(score: torch.Tensor) -> HybridOutput:
    """Heads [1, K, h, w] and [1, 2, h, w] whose hybrid score is ``score`` [h, w]."""
    generator = torch.Generator().manual_seed(1)
    posterior = torch.stack([torch.zeros_like(score), 3 * torch.randn(score.shape, generator=generator)]).unsqueeze(0)
    logits = torch.randn(1, K, *score.shape, generator=generator)
    return HybridOutput(logits + (hybrid(logits, posterior)[0] - score), posterior)


def regions(height: int = 64, width: int = 128) -> torch.Tensor:
    """Road at -180 below, sky at -130 above, an obstacle of 8 x 8 positions at -20 on the road."""
    score = torch.full((height, width), -180.0)
    score[: height // 2] = -130.0
    score[48:56, 60:68] = -20.0
    return score


def reference(output: HybridOutput, level: ScoreLevel) -> np.ndarray:
    """The offset in float64, cell by cell, from one position of each; for sizes that are whole cells."""
    logits, posterior = (part[0].double().numpy() for part in output)
    rows, columns = logits.shape[1] // 4, logits.shape[2] // 4
    cells = [part[:, 1::4, 1::4] for part in (logits, posterior)]
    odds = cells[1][1] - cells[1][0]
    score = -np.logaddexp(0, -odds) - np.logaddexp.reduce(cells[0], axis=0)
    known = 1 / (1 + np.exp((score - level.midpoint) / level.softness))
    sums = np.stack([known * (score - level.midpoint), known])
    whole = sums.mean((1, 2))
    side, near = 2 * level.reach + 1, sums
    for _ in range(2):
        padded = np.pad(near, ((0, 0), (level.reach, level.reach), (level.reach, level.reach)))
        near = np.stack(
            [[padded[:, i : i + side, j : j + side].mean((1, 2)) for j in range(columns)] for i in range(rows)]
        ).transpose(2, 0, 1)
    return level.share * (near[0] + level.frame * whole[0] / whole[1]) / (near[1] + level.frame)


def test_it_is_its_definition() -> None:
    output = scene(regions() + 5 * torch.randn(64, 128, generator=torch.Generator().manual_seed(0)))
    offset = LEVEL.offset(*output)
    assert offset.shape == (1, 1, 64, 128)
    assert offset.dtype == torch.float32
    expected = torch.from_numpy(reference(output, LEVEL)).float()[None, None]
    expected = torch.nn.functional.interpolate(expected, (64, 128), mode="bilinear")
    torch.testing.assert_close(offset, expected, atol=1e-3, rtol=1e-4)


def test_regions_come_nearer_and_what_stands_out_goes_on_to() -> None:
    output = scene(regions())
    before, after = (hybrid(*each)[0] for each in (output, levelled(output, LEVEL)))
    road, sky, obstacle = (slice(52, 64), slice(0, 40)), (slice(4, 24), slice(0, 128)), (slice(50, 54), slice(62, 66))
    assert float(before[sky].mean() - before[road].mean()) == pytest.approx(50, abs=0.01)
    assert float(after[sky].mean() - after[road].mean()) == pytest.approx(25, abs=5)  # and a little of the frame
    contrast = float(before[obstacle].mean() - before[sky].mean()), float(after[obstacle].mean() - after[sky].mean())
    assert contrast[1] > contrast[0] + 15  # it gains on the sky


def test_the_classes_and_both_posteriors_stay() -> None:
    output = scene(regions())
    made = levelled(output, LEVEL)
    torch.testing.assert_close(made.logits.softmax(1), output.logits.softmax(1), atol=1e-4, rtol=1e-4)
    assert torch.equal(made.posterior, output.posterior)
    assert levelled(output, None) is output


def test_a_large_unknown_object_has_no_level_of_its_own() -> None:
    score = torch.full((64, 128), -160.0)
    score[8:56, 16:112] = -10.0
    offset = ScoreLevel(0.5, 2, -100.0, 10.0, 0.1).offset(*scene(score))[0, 0]
    assert float(offset[32, 64]) == pytest.approx(float(offset[0, 0]), abs=1.0)  # that of the frame: -30


def test_an_all_unknown_frame_stays_finite_and_has_no_level() -> None:
    offset = LEVEL.offset(*scene(torch.full((16, 16), 500.0)))
    assert torch.isfinite(offset).all()
    assert float(offset.abs().max()) < 0.1


@pytest.mark.parametrize("size", [(5, 7), (33, 66), (1, 1)])
def test_any_size_will_do(size: tuple[int, int]) -> None:
    offset = LEVEL.offset(*scene(torch.full(size, -150.0)))
    torch.testing.assert_close(offset, torch.full((1, 1, *size), -25.0), atol=0.8, rtol=0)


def test_images_of_a_batch_do_not_mix() -> None:
    one, other = scene(regions()), scene(torch.full((64, 128), -150.0))
    both = HybridOutput(*(torch.cat(pair) for pair in zip(one, other, strict=True)))
    offset = LEVEL.offset(*both)
    torch.testing.assert_close(offset[:1], LEVEL.offset(*one))
    torch.testing.assert_close(offset[1:], LEVEL.offset(*other))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_its_type(dtype: torch.dtype) -> None:
    output = scene(regions())
    half = HybridOutput(*(part.to(dtype) for part in output))
    made = levelled(half, LEVEL)
    assert made.logits.dtype == dtype
    assert float((made.logits.float() - levelled(output, LEVEL).logits).abs().mean()) < 0.5


@pytest.mark.parametrize(
    "changes",
    [{"share": 0.0}, {"share": 1.1}, {"reach": 0}, {"softness": 0.0}, {"frame": 0.0}, {"share": float("nan")}],
)
def test_impossible_settings_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(InputError, match="score level: share"):
        ScoreLevel(**{"share": 0.5, "reach": 2, "midpoint": -100.0, "softness": 10.0, **changes})
