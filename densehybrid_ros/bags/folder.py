# SPDX-License-Identifier: Apache-2.0
"""Which files make up a recording, and what ``metadata.yaml`` says of them: hints, which the files overrule."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from densehybrid_ros.bags.record_files import is_latched

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

    Never empty: it is ``path`` itself where nothing below it is a bag, for whoever opens it to say so.
    """
    if not path.is_dir() or (path / "metadata.yaml").is_file() or _is_broken_off(path):
        return [path]
    found = (item for item in path.iterdir() if (is_bag_folder(item) if item.is_dir() else is_recorded_file(item)))
    return sorted(found) or [path]


def is_bag_folder(path: Path) -> bool:
    """Whether a folder holds a recording; one that broke off has messages but no metadata.yaml yet."""
    return (path / "metadata.yaml").is_file() or any(is_recorded_file(item) for item in path.iterdir())


def _is_broken_off(path: Path) -> bool:
    """Whether the files are the parts of one recording without metadata.yaml: NAME_0.mcap, NAME_1.mcap, ..."""
    files = [item for item in path.iterdir() if is_recorded_file(item, FOLDER_SUFFIXES)]
    parts = [_PART.fullmatch(item.name.partition(".")[0]) for item in files]
    names = {part["name"] for part in parts if part}
    is_first_there = any(part and part["number"] == "0" for part in parts)
    return len(names) == 1 and all(parts) and (path.name in names or is_first_there)


@dataclass(frozen=True)
class Metadata:
    """Hints; all empty where the file is missing or malformed."""

    files: list[str] = field(default_factory=list)  # Names of the recording's files in order
    promised: dict[str, int] = field(default_factory=dict)  # Topic -> number of its messages
    kinds: dict[str, str] = field(default_factory=dict)  # Topic -> message type
    latched: set[str] = field(default_factory=set)  # Topics whose late subscribers get the last message


def read_metadata(folder: Path) -> Metadata:
    """Reads ``metadata.yaml`` of a folder as far as it can be understood."""
    metadata = Metadata()
    try:
        text = (folder / "metadata.yaml").read_text(encoding="utf-8")
        content: Any = yaml.safe_load(text)["rosbag2_bagfile_information"]
        metadata.files.extend(Path(str(name)).name for name in content.get("relative_file_paths") or [])
        for item in content.get("topics_with_message_count") or []:
            about = item["topic_metadata"]
            name = str(about["name"])
            metadata.kinds[name] = str(about.get("type") or "")
            if is_latched(about.get("offered_qos_profiles")):
                metadata.latched.add(name)
            metadata.promised[name] = int(item["message_count"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, yaml.YAMLError):
        pass  # a hint that can't be read is none
    return metadata


def recorded_files(path: Path, listed: list[str]) -> list[Path]:
    """Returns the files of a recording: in the order of the list where it is complete, else in natural order."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        return []
    names = {item.name for item in path.iterdir() if item.is_file() and is_recorded_file(item, FOLDER_SUFFIXES)}
    # A packed file beside itself unpacked holds the same once more.
    packed = {name for name in names if Path(name).suffix.lower() in PACKED_SUFFIXES and Path(name).stem in names}
    files = [path / name for name in names - packed]
    places = {name: place for place, name in enumerate(listed)}
    place_of = [places.get(file.name, places.get(file.stem)) for file in files]
    if None in place_of:
        return sorted(files, key=natural_key)
    return [file for _, file in sorted(zip(place_of, files, strict=True))]


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Sorts ``frame2`` before ``frame10``: numbers by value, the rest as text."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in parts] + [(-1, path.name)]
