# SPDX-License-Identifier: Apache-2.0
"""The bags of a folder."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

FOLDER_SUFFIXES = (".mcap", ".db3")
"""Files of a rosbag2, in lower case."""

BAG_SUFFIXES = (*FOLDER_SUFFIXES, ".bag")
"""Files that hold messages, in lower case."""

PACKED_SUFFIXES = (".zstd", ".zst")
"""What is appended to them where they are packed, in lower case."""

_PART = re.compile(r"(?P<name>.*)_(?P<number>\d+)")


def is_recorded_file(path: Path, suffixes: Collection[str] = BAG_SUFFIXES) -> bool:
    """Whether a file has the name of one that holds messages, packed or not."""
    packed = path.suffix.lower() in PACKED_SUFFIXES
    return (Path(path.stem) if packed else path).suffix.lower() in suffixes


def find_bags(path: Path) -> list[Path]:
    """Returns the bag that ``path`` is, or the bags right below it in the order of their names.

    Args:
        path: Directory of a rosbag2, a .mcap, .db3 or .bag file, packed with zstd or not, or a folder of such.

    Returns:
        Never empty: ``path`` itself where nothing below it is a bag, for whoever opens it to say so.
    """
    if not path.is_dir() or (path / "metadata.yaml").is_file() or _is_broken_off(path):
        return [path]
    return sorted(item for item in path.iterdir() if _is_bag(item)) or [path]


def _is_bag(path: Path) -> bool:
    if not path.is_dir():
        return is_recorded_file(path)
    # A recording that broke off has messages but no metadata.yaml yet.
    return (path / "metadata.yaml").is_file() or any(is_recorded_file(item) for item in path.iterdir())


def _is_broken_off(path: Path) -> bool:
    """Whether the files are the parts of one recording without metadata.yaml: NAME_0.mcap, NAME_1.mcap, ..."""
    files = [item for item in path.iterdir() if is_recorded_file(item, FOLDER_SUFFIXES)]
    parts = [_PART.fullmatch(item.name.partition(".")[0]) for item in files]
    names = {part["name"] for part in parts if part}
    is_first_there = any(part and part["number"] == "0" for part in parts)
    return len(names) == 1 and all(parts) and (path.name in names or is_first_there)
