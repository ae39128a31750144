"""Images at several scales."""

from __future__ import annotations

import pytest
import torch

from densehybrid_ros.networks.scales import are_scales, rescaled


@pytest.mark.parametrize(("scale", "size"), [(0.5, (32, 64)), (1.4, (96, 192)), (0.1, (32, 32)), (2.0, (128, 256))])
def test_sides_are_multiples_of_the_stride(scale: float, size: tuple[int, int]) -> None:
    images = torch.full((1, 3, 64, 128), 0.25)
    made = rescaled(images, scale)
    assert made.shape[2:] == size
    torch.testing.assert_close(made, torch.full_like(made, 0.25))


def test_one_leaves_the_images_and_mistakes_are_no_scales() -> None:
    images = torch.rand(1, 3, 64, 128)
    assert rescaled(images, 1) is images
    assert are_scales([0.5, 1, 2])
    assert not are_scales([])
    assert not are_scales([1, 9])
