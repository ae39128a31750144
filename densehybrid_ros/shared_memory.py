# SPDX-License-Identifier: Apache-2.0
"""The files of Fast DDS in /dev/shm: which are in use, and those that killed processes have left."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")

_PATTERNS = ("fastrtps_*", "fastdds_*", "sem.fastrtps_*", "sem.fastdds_*")
_SEGMENT = re.compile(r"(fastrtps|fastdds)_[0-9a-f]{16}")
_SIZE = re.compile(r"<segment_size>(\d+)")


def fast_dds_files() -> Iterator[Path]:
    """Yields all files of Fast DDS: segments of messages, ports, locks and semaphores."""
    for pattern in _PATTERNS:
        yield from SHARED_MEMORY.glob(pattern)


def files_in_use(process: str = "[0-9]*") -> set[Path]:
    """Returns the files of /dev/shm that a process has mapped or open, as far as this user may look.

    Args:
        process: Name below /proc of those to look at: all, ``self``, or a process id.
    """
    used: set[Path] = set()
    for folder in Path("/proc").glob(process):
        try:
            lines = (folder / "maps").read_text(encoding="utf-8", errors="replace").splitlines()
            used |= {Path(line.split(maxsplit=5)[5]) for line in lines if str(SHARED_MEMORY) in line}
            for link in (folder / "fd").iterdir():
                with suppress(OSError):  # closed meanwhile
                    used.add(link.readlink())
        except OSError:
            continue  # it has ended, or belongs to somebody else
    return used


def remove_dead_segments() -> int:
    """Removes the segments of this user's processes that were killed; a segment holds the images that one sends.

    A segment is removed where its owner holds its lock file no more, which the kernel tells across users and
    containers, and no process that can be looked at has it mapped. Ports stay: they are small, have several owners, and
    the next process that gets the number takes them over.

    Returns:
        The bytes that are free again.
    """
    freed = 0
    with ExitStack() as locks:
        dead = [path for path in fast_dds_files() if _SEGMENT.fullmatch(path.name) and _is_dead(path, locks)]
        used = files_in_use() if dead else set()
        for segment in dead:
            if segment not in used:
                freed += segment.stat().st_blocks * 512
                segment.unlink()
                _lock_of(segment).unlink()
    return freed


def _lock_of(segment: Path) -> Path:
    return segment.with_name(f"{segment.name}_el")


def _is_dead(segment: Path, locks: ExitStack) -> bool:
    """Whether its owner is this user's and has ended; if so, ``locks`` keeps others from removing it too."""
    try:
        if segment.stat().st_uid != os.geteuid():
            return False
        # Fast DDS locks this file before it makes the segment, and makes another one if it is gone by then.
        lock = locks.enter_context(_lock_of(segment).open("a"))
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return segment.exists()
    except OSError:  # the owner lives, or another process is removing it
        return False


def missing_segment(environment: Mapping[str, str] = os.environ) -> str:
    """Says in one line that Fast DDS could not make this process's segment, though it should; empty if all is well.

    To be asked when the first node is made. Then images go by UDP, on which large ones get lost.
    """
    names = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
    profiles = [Path(environment[name]) for name in names if environment.get(name)]
    try:
        text = "\n".join(path.read_text(encoding="utf-8") for path in profiles)
    except OSError:
        text = ""  # without its profile Fast DDS does as it does by default
    if environment.get("FASTDDS_BUILTIN_TRANSPORTS", "DEFAULT") != "DEFAULT" or (text and "<type>SHM" not in text):
        return ""
    size = max(map(int, _SIZE.findall(text)), default=0)
    own = [path for path in files_in_use("self") if _SEGMENT.fullmatch(path.name) and path.exists()]
    if any(path.stat().st_size >= size for path in own):
        return ""
    free = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else 0
    return (
        f"images go by UDP: Fast DDS has no shared memory, {SHARED_MEMORY} has {free >> 20} MiB free; "
        "give a container --shm-size=1g or --ipc=host"
    )
