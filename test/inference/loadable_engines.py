# SPDX-License-Identifier: Apache-2.0
"""Apart from the tiny network, which runs as a program and needs no pytest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from densehybrid_ros.errors import InputError


@contextmanager
def loadable() -> Iterator[None]:
    """Skips where torch can't load the engines of AOTInductor that it compiled, which the build found."""
    try:
        yield
    except InputError as error:
        if "ends with SIG" not in str(error):
            raise
        pytest.skip(str(error))
