# SPDX-License-Identifier: Apache-2.0
"""Writing files: whole or not at all, and what can't be written is one line that names the file; their digest."""

from __future__ import annotations

import hashlib
import math
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from densehybrid_ros.errors import OutputError

_LONGEST_PART = 40  # characters of a name that its temporary name repeats


def file_digest(path: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal digits (hashlib.file_digest came with Python 3.11)."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def without_nan(value: Any) -> Any:
    """Returns plain types for JSON with None in the place of numbers that are not finite, which JSON has not."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def writing(path: Path | str, *errors: type[Exception]) -> Iterator[None]:
    """Says of a block that writes ``path``, and does nothing else, what went wrong.

    Args:
        path: What is written.
        errors: Kinds of errors that mean the same as OSError, such as a library's own.

    Raises:
        OutputError: The block raised one of them: no space left, a read-only folder, a name that can't be.
    """
    kinds: tuple[type[Exception], ...] = (OSError, *errors)
    try:
        yield
    except BrokenPipeError:
        raise  # nothing is wrong with the file: who reads it has gone
    except kinds as error:
        first = error.__context__ if isinstance(error.__context__, OSError) else error
        reason = getattr(first, "strerror", None) or first
        raise OutputError(f"{path}: can't be written: {reason}") from error


def make_folder(path: Path) -> None:
    """Makes a folder and those above it, where they are not there already; an OutputError if it can't be made."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def atomic_file(path: Path, sync: bool = True) -> Iterator[IO[bytes]]:
    """Yields a binary file to write, which takes the place of ``path`` when the block ends without an error.

    On an error nothing is left of it and whatever stood at ``path`` stays untouched. A device or a pipe is written as
    it is, and a link's target is replaced, not the link.

    Args:
        path: The file; folders above it are made.
        sync: Wait until the disk has it, so that not even a power cut takes old and new; for what can't be lost.

    Raises:
        OutputError: It can't be written.
    """
    with writing(path):
        if path.exists() and not (path.is_file() or path.is_dir()):
            with path.open("wb") as file:
                yield file
            return
        target = Path(os.path.realpath(path))
        _make_parent(target)
        temporary = target.with_name(f".{target.name[:_LONGEST_PART]}.{secrets.token_hex(4)}")
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


def write_together(contents: Mapping[Path, bytes], sync: bool = True) -> None:
    """Writes files that belong together: none takes its place before all are written; an OutputError if one can't."""
    with ExitStack() as stack:
        for path, content in contents.items():
            file = stack.enter_context(atomic_file(path, sync))
            with writing(path):
                file.write(content)
                file.flush()


def write_text_atomically(path: Path, text: str) -> None:
    """Writes ``text`` to ``path`` (UTF-8), whole or not at all; an OutputError if it can't be written."""
    write_together({path: text.encode()})


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yields the path of a directory to make, which takes the place of ``path`` when the block ends well.

    It has the final name in a temporary folder beside ``path``, so that files may be named after it. What
    stood at ``path`` is replaced whole; whether it may be is for the caller to decide beforehand. On an error
    the new directory is removed and ``path`` stays untouched.

    Raises:
        OutputError: It can't be made or can't take its place. Errors of the block are the block's.
    """
    path = path.absolute()
    with writing(path):
        _make_parent(path)
        staging = Path(tempfile.mkdtemp(prefix=f".{path.name[:_LONGEST_PART]}.", dir=path.parent))
    try:
        fresh = staging / path.name
        yield fresh
        with writing(path):
            _swap(fresh, path, staging / "replaced")
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _make_parent(path: Path) -> None:
    with suppress(FileExistsError):  # a file is in its place: what comes next says "Not a directory"
        path.parent.mkdir(parents=True, exist_ok=True)


def _swap(fresh: Path, path: Path, retired: Path) -> None:
    if not path.exists():
        fresh.rename(path)
        return
    path.rename(retired)
    try:
        fresh.rename(path)
    except OSError:
        retired.rename(path)
        raise
