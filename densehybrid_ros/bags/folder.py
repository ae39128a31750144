"""The bags of a folder."""

from __future__ import annotations

from pathlib import Path

BAG_SUFFIXES = (".mcap", ".db3", ".bag")
"""Files that hold messages, in lower case."""


def find_bags(path: Path) -> list[Path]:
    """Returns the bag that ``path`` is, or the bags right below it in the order of their names.

    Args:
        path: Directory of a rosbag2, a .mcap, .db3 or .bag file, or a folder of such.

    Returns:
        Never empty: ``path`` itself where nothing below it is a bag, for whoever opens it to say so.
    """
    if not path.is_dir() or (path / "metadata.yaml").is_file():
        return [path]
    return sorted(item for item in path.iterdir() if _is_bag(item)) or [path]


def _is_bag(path: Path) -> bool:
    if not path.is_dir():
        return path.suffix.lower() in BAG_SUFFIXES
    # A recording that broke off has messages but no metadata.yaml yet.
    return (path / "metadata.yaml").is_file() or any(item.suffix in BAG_SUFFIXES for item in path.iterdir())
