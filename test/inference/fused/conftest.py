# SPDX-License-Identifier: Apache-2.0
"""Where the kernels can run: on a GPU, or in Triton's interpreter."""

from __future__ import annotations

import os

import pytest
import torch

if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    collect_ignore_glob = ["test_layers.py", "test_networks.py"]


@pytest.fixture
def device() -> torch.device:
    """A GPU, or the CPU with Triton's interpreter."""
    torch.manual_seed(0)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
