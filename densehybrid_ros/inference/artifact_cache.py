# SPDX-License-Identifier: Apache-2.0
"""A directory of things that took long to build, each taken only if it is whole and was built for exactly this key.

An entry is a file DIGEST.CHECKSUM.SUFFIX and its manifest DIGEST.json, which names that file. The manifest is renamed
into place last, so a build that was killed leaves nothing that is taken for an entry, and of two processes that store
the same the later one wins whole. A directory that others can write to is not used: what lies in it may be native code.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from densehybrid_ros.files import file_digest
from densehybrid_ros.inference.private_folder import make_private, sharing_problem

Key = Mapping[str, Any]
"""What an entry depends on: name -> text, number or None; compared whole."""

_FORMAT = 1
_SECONDS_BETWEEN_LOOKS = 0.2
_SECONDS_UNTIL_ABANDONED = 24 * 3600.0


def default_cache() -> Path:
    """Returns ``densehybrid_ros`` in the user's cache directory ($XDG_CACHE_HOME, else ~/.cache)."""
    configured = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(configured) if os.path.isabs(configured) else Path(os.path.expanduser("~")) / ".cache"  # noqa: PTH111, PTH117
    return base / "densehybrid_ros"


@dataclass(frozen=True)
class Entry:
    """An entry that was found whole.

    Attributes:
        path: Its file.
        key: What it was built for.
        facts: What the build noted: time, error against the reference and the like.
    """

    path: Path
    key: dict[str, Any]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Built:
    """What ``ArtifactCache.build`` returns.

    Attributes:
        entry: The entry; where it could not be stored, its file lies in a temporary folder.
        fresh: Whether it was built now.
        note: Why it was not stored; empty where it was.
    """

    entry: Entry
    fresh: bool
    note: str = ""


class ArtifactCache:
    """See the module. Several processes may use one directory; one of them builds an entry, the others wait for it."""

    def __init__(self, directory: Path | None = None) -> None:
        """Takes a directory, which need not exist; None: ``default_cache()``."""
        self.directory = directory if directory is not None else default_cache()
        self._temporary: list[tempfile.TemporaryDirectory[str]] = []

    @property
    def problem(self) -> str:
        """Why the directory is not used, in one line with the mend; empty where it is."""
        return sharing_problem(self.directory)

    def find(self, key: Key) -> tuple[Entry | None, str]:
        """Looks an entry up.

        Returns:
            The entry and "", or None and the reason in a few words: there is none, it is damaged, or ``problem``.
        """
        if problem := self.problem:
            return None, problem
        return self._read(self._manifest(key), dict(key))

    def entries(self) -> list[Entry]:
        """Returns all whole entries, sorted by their keys; none where others can write to the directory."""
        if self.problem:
            return []
        try:
            manifests = sorted(self.directory.glob("*.json"))
        except OSError:
            return []
        found = [self._read(path, None)[0] for path in manifests]
        return sorted((entry for entry in found if entry), key=lambda entry: json.dumps(entry.key, sort_keys=True))

    def build(
        self,
        key: Key,
        suffix: str,
        make: Callable[[Path], dict[str, Any]],
        report: Callable[[str], None] = lambda text: None,
        useless: Path | None = None,
    ) -> Built:
        """Returns the entry of ``key``; builds it where there is none.

        Args:
            key: What it depends on.
            suffix: Of its file, such as ``.pt2``.
            make: Writes the file at the path that it is given, in a folder of its own, and returns facts about it.
            report: Is told what is waited for.
            useless: File of an entry that is whole but does not load: it counts as none.
        """

        def find() -> Entry | None:
            entry, _ = self.find(key)
            return entry if entry is not None and entry.path != useless else None

        try:
            problem = make_private(self.directory)
            if not problem:
                with self._locked(key, report):
                    entry = find()
                    if entry is not None:
                        return Built(entry, fresh=False)
                    self._sweep(key)
                    return Built(self._build_and_store(key, suffix, make), fresh=True)
            note = f"not stored: {problem}"
        except OSError as error:
            if not _is_about_storing(error, self.directory):
                raise
            note = f"not stored: {self.directory}: {error.strerror or error}"
        report(note)
        entry = find()
        if entry is not None:
            return Built(entry, fresh=False)
        return Built(self._build_aside(key, suffix, make), fresh=True, note=note)

    def _build_and_store(self, key: Key, suffix: str, make: Callable[[Path], dict[str, Any]]) -> Entry:
        digest = _digest(key)
        with tempfile.TemporaryDirectory(prefix=f".{digest}.", dir=self.directory) as folder:
            path = Path(folder) / f"artifact{suffix}"
            facts = make(path)
            checksum = file_digest(path)
            final = self.directory / f"{digest}.{checksum[:12]}{suffix}"
            manifest = {"format": _FORMAT, "key": dict(key), "file": final.name, "sha256": checksum, "facts": facts}
            described = Path(folder) / "manifest"
            described.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
            for made, place in ((path, final), (described, self._manifest(key))):
                made.chmod(0o644)  # whatever the umask: what others can write to is not loaded
                made.replace(place)
        for old in self.directory.glob(f"{digest}.*{suffix}"):
            if old != final:
                old.unlink(missing_ok=True)
        return Entry(final, dict(key), facts)

    def _build_aside(self, key: Key, suffix: str, make: Callable[[Path], dict[str, Any]]) -> Entry:
        folder: tempfile.TemporaryDirectory[str] = tempfile.TemporaryDirectory(prefix="densehybrid_")
        self._temporary.append(folder)  # removed with this object, when nothing loaded from it is in use any more
        path = Path(folder.name) / f"artifact{suffix}"
        return Entry(path, dict(key), make(path))

    def _manifest(self, key: Key) -> Path:
        return self.directory / f"{_digest(key)}.json"

    def _read(self, manifest: Path, key: dict[str, Any] | None) -> tuple[Entry | None, str]:
        try:
            content = json.loads(manifest.read_text(encoding="utf-8"))
            if content["format"] != _FORMAT or (key is not None and content["key"] != key):
                return None, f"{manifest}: of another version"
            path = manifest.parent / Path(content["file"]).name
            if file_digest(path) != content["sha256"]:
                return None, f"{path}: damaged"
            return Entry(path, dict(content["key"]), dict(content["facts"])), ""
        except FileNotFoundError:
            return None, "none in the cache"
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            return None, f"{manifest}: unreadable ({type(error).__name__})"

    @contextlib.contextmanager
    def _locked(self, key: Key, report: Callable[[str], None]) -> Iterator[None]:
        # The kernel drops the lock when its holder dies. The file stays: to remove it would race.
        handle = os.open(self.directory / f"{_digest(key)}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        with os.fdopen(handle, "r+b") as file:
            waited = False
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not waited:
                        report("another process builds the same; waiting for it")
                    waited = True
                    time.sleep(_SECONDS_BETWEEN_LOOKS)
            yield

    def _sweep(self, key: Key) -> None:
        """Removes what killed builds left: of this key (its lock is held), and of others after a day."""
        for folder in self.directory.glob(".*"):
            with contextlib.suppress(OSError):
                age = time.time() - folder.stat().st_mtime
                if folder.name.startswith(f".{_digest(key)}.") or age > _SECONDS_UNTIL_ABANDONED:
                    _remove(folder)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for child in path.iterdir():
            _remove(child)
        path.rmdir()
    else:
        path.unlink()


def _digest(key: Key) -> str:
    return hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()[:24]


def _is_about_storing(error: OSError, directory: Path) -> bool:
    """Whether the cache directory is at fault rather than the build itself."""
    names = [name for name in (error.filename, error.filename2) if name is not None]
    return any(str(name).startswith(str(directory)) or directory.is_relative_to(str(name)) for name in names) or (
        not names and error.errno in _NO_ROOM
    )


_NO_ROOM = {28, 30, 122}  # ENOSPC, EROFS, EDQUOT
