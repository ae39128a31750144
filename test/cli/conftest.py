# SPDX-License-Identifier: Apache-2.0
"""Frames and negatives that a command trains on."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_frames import write_small_frames


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``cityscapes_640`` in small, and negatives; a module's own."""
    return write_small_frames(tmp_path_factory.mktemp("data"))
