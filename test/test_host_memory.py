# SPDX-License-Identifier: Apache-2.0
"""Freed memory stays with a process that chose the CPU: in one of its own, because the setting holds for all of it."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_SCRIPT = """
import resource, torch
from densehybrid_ros.inference.backends import choose_device
if {keep}:
    choose_device("cpu")
for _ in range(30):  # a small block that lands in between makes glibc take new pages a few times before it settles
    torch.ones(16 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(16 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(keep: bool) -> int:
    script = _SCRIPT.format(keep=keep)
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    return int(result.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has these settings")
def test_large_tensors_reuse_their_pages() -> None:
    assert page_faults(keep=True) < 0.5 * page_faults(keep=False)
