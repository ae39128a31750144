"""Writing files so that a half-written one is never left behind, and the digest that tells a damaged one."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def file_digest(path: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal digits (hashlib.file_digest came with Python 3.11)."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary name beside ``path`` and renames it into place when the block ends without an error.

    On an error the temporary file is removed and whatever stood at ``path`` stays untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private to the user; a result is as readable as any other new file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text_atomically(path: Path, text: str) -> None:
    """Writes ``text`` to ``path`` (UTF-8), whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yields the path of a directory to make, which takes the place of ``path`` when the block ends well.

    It has the final name in a temporary folder beside ``path``, so that files may be named after it. What
    stood at ``path`` is replaced whole; whether it may be is for the caller to decide beforehand. On an error
    the new directory is removed and ``path`` stays untouched.
    """
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        fresh = staging / path.name
        yield fresh
        _swap(fresh, path, staging / "replaced")
    finally:
        shutil.rmtree(staging, ignore_errors=True)


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
