# SPDX-License-Identifier: Apache-2.0
"""A module as others write them: not this project's, with names of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class PlainNetwork(nn.Module):
    """Features at strides 2, 4 and 8 and a pooled one, a classifier at stride 4; returns full-size logits by name."""

    def __init__(self, num_classes: int = 5) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 12, 3, stride=2, padding=1),
        )
        self.deep = nn.Conv2d(12, 12, 3, stride=2, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Sequential(nn.Dropout(0.1), nn.Conv2d(12, num_classes, 1))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps images [B, 3, H, W] to ``out``, logits [B, K, H, W]."""
        features = torch.relu(self.backbone(images))
        deep = functional.interpolate(self.deep(features), size=features.shape[2:], mode="nearest")
        logits = self.head(features + deep + self.pool(features))
        return {"out": functional.interpolate(logits, size=images.shape[2:], mode="bilinear")}
