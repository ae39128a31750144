"""A trial run of a network that others wrote."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def trial(module: nn.Module) -> Iterator[None]:
    """Switches to evaluation without gradients, and each part back to how it was."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes:
            part.training = training


def first_line(error: Exception) -> str:
    """Returns what an error of another library says, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
