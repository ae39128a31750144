# SPDX-License-Identifier: Apache-2.0
"""The fused networks against the networks themselves in float32."""

from __future__ import annotations

import pytest
import torch
from random_norms import with_random_norms

pytest.importorskip("triton", reason="Triton is not installed: PyTorch's CPU wheels come without it")

from densehybrid_ros.inference.dense_output import dense_output
from densehybrid_ros.inference.fused import fuse
from densehybrid_ros.inference.fused.layout import bordered
from densehybrid_ros.inference.fused.tiles import Tiles
from densehybrid_ros.networks import DenseHybrid, HybridOutput, build_network


@pytest.mark.parametrize("size", [(32, 64), (45, 71)])
@pytest.mark.parametrize("architecture", ["ldn121", "light"])
def test_scores_and_logits_agree(architecture: str, size: tuple[int, int], device: torch.device) -> None:
    model = with_random_norms(DenseHybrid(build_network(architecture, 19))).to(device)
    images = torch.rand(1, 3, *size, device=device).half().float()
    expected = model(images)
    made = fuse(model, Tiles())
    filled = bordered(size, device, made.border).copy_(images)
    output = HybridOutput(*made(filled))
    for part, wanted in zip(output, expected, strict=True):
        assert part.shape == wanted.shape
        assert float((part.float() - wanted).norm() / wanted.norm()) < 0.01
    scores = [dense_output(each, size, 0.0).anomaly_score for each in (output, expected)]
    assert float((scores[0] - scores[1]).abs().mean()) < 0.02
    closed = fuse(model, Tiles(), closed_set=True)(filled)
    assert len(closed) == 1
    torch.testing.assert_close(closed[0], output.logits)
