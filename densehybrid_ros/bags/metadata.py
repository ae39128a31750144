# SPDX-License-Identifier: Apache-2.0
"""What ``metadata.yaml`` says of a recording: hints, which the files themselves overrule."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_TRANSIENT_LOCAL = (1, "1", "transient_local")


@dataclass(frozen=True)
class Metadata:
    """Hints; all empty where the file is missing or malformed.

    Attributes:
        files: Names of the recording's files in order.
        promised: Topic -> number of its messages.
        kinds: Topic -> message type.
        latched: Topics whose late subscribers get the last message.
    """

    files: list[str] = field(default_factory=list)
    promised: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    latched: set[str] = field(default_factory=set)


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


def is_latched(profiles: object) -> bool:
    """Tells from the offered QoS profiles, as text or as YAML gives them, whether one of them is transient local."""
    try:
        content = yaml.safe_load(profiles) if isinstance(profiles, str) else profiles
    except yaml.YAMLError:
        return False
    return isinstance(content, list) and any(
        isinstance(item, dict) and item.get("durability") in _TRANSIENT_LOCAL for item in content
    )
