# SPDX-License-Identifier: Apache-2.0
"""Keeping freed memory for the next frame: of processes that compute on the CPU, or send and receive images."""

from __future__ import annotations

import ctypes
import sys

# Options of glibc's mallopt, from malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_NEVER_TRIM = 2**31 - 1
_TOP_PAD_BYTES = 64 << 20


def keep_freed_memory() -> None:
    """Tells glibc, where it is there, to keep freed blocks instead of giving them back to the kernel.

    By default each large tensor and message is mapped and unmapped, and the kernel clears its pages every time: on
    two cores a fifth to half of the time of a frame or of a step of training, and most of the time that a message of
    6 MB takes. One arena, because freed blocks of one thread then serve the next. It holds for the whole process; call
    it before threads start.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    options = {_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: _NEVER_TRIM, _TOP_PAD: _TOP_PAD_BYTES}
    for option, value in options.items():
        mallopt(option, value)
