# SPDX-License-Identifier: Apache-2.0
"""Normalisations as training leaves them: no factor of 1 and no offset of 0 that would hide a mistake."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def with_random_norms(module: Module) -> Module:
    """Fills all batch normalisations of ``module``, some factors negative, and returns it in inference mode."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            part.weight.data[::5] *= -1
            nn.init.normal_(part.bias, 0, 0.3)
    return module.eval().requires_grad_(False)
