# SPDX-License-Identifier: Apache-2.0
"""Baselines under their names."""

from __future__ import annotations

import pytest

from densehybrid_ros import research


@pytest.fixture(scope="session", autouse=True)
def registered() -> None:
    """Does what the command line does."""
    research.register()
