# SPDX-License-Identifier: Apache-2.0
"""Which picture files make up a drive, and in which order."""

from __future__ import annotations

import re
from pathlib import Path

from densehybrid_ros.datasets import pictures

_ROLE_SUFFIX = re.compile(
    r"_(leftImg8bit|disparity|camera|(gtCoarse|gtFine)_(labelIds|labelTrainIds|instanceIds|color))$"
)


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Sorts ``frame2`` before ``frame10``: numbers by value, the rest as text."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in parts] + [(-1, path.name)]


def list_pictures(folder: Path) -> list[Path]:
    """Returns the picture files of a folder in natural order, or the one picture that ``folder`` is.

    Raises:
        InputError: The folder is missing or holds no picture.
    """
    return [folder] if folder.is_file() else sorted(pictures.list_pictures(folder), key=natural_key)


def frame_name(path: Path) -> str:
    """Returns what the files of one frame have in common: the stem without Cityscapes' name of the role."""
    return _ROLE_SUFFIX.sub("", path.stem)
