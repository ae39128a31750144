"""The mean of a model's heads over several scales of an image."""

from __future__ import annotations

import pytest
import torch

from densehybrid_ros.networks import DenseHybrid, build_network, upsample
from densehybrid_ros.networks.scales import mean_over_scales, rescaled


@pytest.fixture(scope="module")
def model() -> DenseHybrid:
    torch.manual_seed(0)
    return DenseHybrid(build_network("light", 5)).eval()


@pytest.mark.parametrize(("scale", "size"), [(0.5, (32, 64)), (1.4, (96, 192)), (0.1, (32, 32)), (2.0, (128, 256))])
def test_sides_are_multiples_of_the_stride(scale: float, size: tuple[int, int]) -> None:
    images = torch.full((1, 3, 64, 128), 0.25)
    made = rescaled(images, scale)
    assert made.shape[2:] == size
    torch.testing.assert_close(made, torch.full_like(made, 0.25))


@torch.inference_mode()
def test_one_scale_is_the_model_itself(model: DenseHybrid) -> None:
    images = torch.rand(1, 3, 64, 128)
    for made, expected in zip(mean_over_scales(model, images, [1.0]), model(images), strict=True):
        torch.testing.assert_close(made, expected)


@torch.inference_mode()
def test_the_mean_lies_on_the_grid_of_the_largest_scale_in_any_order(model: DenseHybrid) -> None:
    images = torch.rand(1, 3, 64, 128)
    output = mean_over_scales(model, images, [0.5, 2.0])
    large, small = model(rescaled(images, 2.0)), model(rescaled(images, 0.5))
    assert output.logits.shape == (1, 5, 32, 64)
    for made, one, other in zip(output, large, small, strict=True):
        torch.testing.assert_close(made, (one + upsample(other, (32, 64))) / 2)
    for made, other in zip(output, mean_over_scales(model, images, [2.0, 0.5]), strict=True):
        torch.testing.assert_close(made, other)
