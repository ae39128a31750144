# SPDX-License-Identifier: Apache-2.0
"""Folders from which native code is loaded: nobody but this user and root may be able to change what lies in them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_MEND = "or name a folder of your own (engine_cache, --cache)"


def sharing_problem(folder: Path) -> str:
    """Says how others could change what lies in a folder, and the mend; empty where they can't.

    Looked at are the folder, what lies in it, and the folders above it, through links and beside them: whoever can
    rename one of those can put another in its place. A folder that is not there yet is as good as those above it.
    """
    lexical, real = folder.absolute(), folder.resolve()
    try:
        for path in dict.fromkeys((real, lexical, *real.parents, *lexical.parents)):
            problem = _problem(path, above=path not in (real, lexical))
            if problem:
                return f"engine cache {folder} is not used: {problem}"
        for path in sorted(real.iterdir()) if real.is_dir() else []:
            problem = _problem(path, follow=False)
            if problem:
                return f"engine cache {folder} is not used: {problem}"
    except OSError as error:
        return f"engine cache {folder} is not used: {error.filename}: {error.strerror}; {_MEND}"
    return ""


def make_private(folder: Path) -> str:
    """Makes a folder and those above it that are not there, for this user alone.

    Returns:
        What ``sharing_problem`` says of it; where it says something, nothing is made.

    Raises:
        OSError: It can't be made.
    """
    problem = sharing_problem(folder)
    if problem:
        return problem
    for path in (*reversed(folder.absolute().parents), folder):
        if not path.exists():
            path.mkdir(mode=0o700, exist_ok=True)
    return sharing_problem(folder)  # another may have been quicker


def _problem(path: Path, above: bool = False, follow: bool = True) -> str:
    try:
        status = path.stat() if follow else path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    if stat.S_ISLNK(status.st_mode):
        return f"{path} is a link; remove it, {_MEND}"
    if status.st_uid not in (os.geteuid(), 0):
        return f"{path} belongs to another user; remove it, {_MEND}"
    safe = above and status.st_mode & stat.S_ISVTX  # as /tmp: others can't rename what is not theirs
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not safe:
        return f"others can write to {path}; chmod go-w {path}, {_MEND}"
    return ""
