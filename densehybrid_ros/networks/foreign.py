# SPDX-License-Identifier: Apache-2.0
"""Code that others wrote: its import, a trial run of its network, and what it says of an error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from torch import nn

from densehybrid_ros.errors import InputError


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


def library(name: str) -> Any:
    """Imports a module of the extra ``networks``.

    Raises:
        InputError: It is not installed, or built for another torch.
    """
    try:
        return import_module(name)
    except Exception as error:
        package = name.partition(".")[0]
        raise InputError(
            f"{package}: does not import ({first_line(error)}); pip install densehybrid_ros[networks]"
        ) from error
