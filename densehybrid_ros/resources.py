# SPDX-License-Identifier: Apache-2.0
"""Where the files that ship beside the code lie: models/, config/ and the like."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from densehybrid_ros.errors import InputError

_PACKAGE = "densehybrid_ros"


def share_directories() -> list[Path]:
    """Directories that may hold the shipped files, the most specific first.

    A source checkout (or editable install) comes first, then the installed share directory of a colcon workspace
    (three folders above site-packages, whatever the layout), then that of a pip installation.
    """
    package_dir = Path(__file__).resolve().parent
    candidates = [package_dir.parent]
    candidates += [parent / "share" / _PACKAGE for parent in package_dir.parents]
    candidates.append(Path(sys.prefix) / "share" / _PACKAGE)
    return [path for path in candidates if (path / "package.xml").is_file()]


def resource_path(relative: str) -> Path:
    """Returns the path of a shipped file or folder such as ``config/fastdds_profile.xml``.

    Raises:
        InputError: Nothing of that name is installed.
    """
    for directory in share_directories():
        path = directory / relative
        if path.exists():
            return path
    raise InputError(f"{relative}: not found beside the package; reinstall densehybrid_ros")


def _version() -> str:
    """Returns the version that package.xml gives, or ``unknown`` where only the package's folder was copied."""
    for directory in share_directories():
        if found := re.search(r"<version>(.+?)</version>", (directory / "package.xml").read_text(encoding="utf-8")):
            return found[1]
    return "unknown"


__version__ = _version()
