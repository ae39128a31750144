# SPDX-License-Identifier: Apache-2.0
"""A folder of what took long to build: engines, block sizes, host kernels.

An entry is taken only if it is whole and was built for exactly this key: a file DIGEST.CHECKSUM.SUFFIX and its manifest
DIGEST.json, which names that file and is renamed into place last, so that a build that was killed leaves no entry. What
lies here is native code, so a folder that anybody but this user and root can change is not used.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from densehybrid_ros.errors import InputError
from densehybrid_ros.files import file_digest, writing

Key = Mapping[str, Any]
"""What an entry depends on: name -> text, number or None; compared whole."""

_FORMAT = 1
_SECONDS_UNTIL_ABANDONED = 24 * 3600.0


def default_cache() -> Path:
    """Returns ``densehybrid_ros`` in the user's cache directory ($XDG_CACHE_HOME, else ~/.cache)."""
    configured = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(configured) if os.path.isabs(configured) else Path("~/.cache").expanduser()  # noqa: PTH117
    return base / "densehybrid_ros"


def sharing_problem(folder: Path) -> str:
    """Says in one line how others could change what lies in a folder, with the mend; empty where they can't.

    Looked at are the folder, what lies in it, and the folders above it, through links and beside them: whoever can
    rename one of those can put another in its place. A folder that is not there yet is as good as those above it.
    """
    lexical, real = folder.absolute(), folder.resolve()
    above = (*real.parents, *lexical.parents)
    try:
        problems = [_problem(path, above=path in above) for path in dict.fromkeys((real, lexical, *above))]
        if real.is_dir():
            problems += [_problem(path, follow=False) for path in sorted(real.iterdir())]
    except OSError as error:
        return _not_used(folder, f"{error.filename}: {error.strerror}")
    return _not_used(folder, next(filter(None, problems), ""))


def _not_used(folder: Path, problem: str) -> str:
    mend = "or name a folder of your own (engine_cache, --cache)"
    return f"engine cache {folder} is not used: {problem}, {mend}" if problem else ""


def _problem(path: Path, above: bool = False, follow: bool = True) -> str:
    try:
        status = path.stat() if follow else path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    if stat.S_ISLNK(status.st_mode):
        return f"{path} is a link; remove it"
    if status.st_uid not in (os.geteuid(), 0):
        return f"{path} belongs to another user; remove it"
    safe = above and status.st_mode & stat.S_ISVTX  # as /tmp: others can't rename what is not theirs
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not safe:
        return f"others can write to {path}; chmod go-w {path}"
    return ""


def make_private(folder: Path) -> str:
    """Makes a folder and those above it that are not there, for this user alone.

    Returns:
        Why it can't be used, in one line with the mend, and then nothing is made; empty where it can be used.
    """
    if problem := sharing_problem(folder):
        return problem
    try:
        for path in (*reversed(folder.absolute().parents), folder):
            if not path.exists():
                path.mkdir(mode=0o700, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
            return _not_used(folder, "it can't be written to; chmod u+wx it")
    except OSError as error:
        return _not_used(folder, f"{error.filename}: {error.strerror}")
    return sharing_problem(folder)  # another may have been quicker


def usable_folder(folder: Path) -> Path:
    """Returns a folder, made for this user alone, or a temporary one of this process where it can't be used."""
    return _temporary_folder() if make_private(folder) else folder


@functools.cache
def _temporary_folder() -> Path:
    with writing("temporary folder"):
        folder = tempfile.mkdtemp(prefix="densehybrid_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


class Entry(NamedTuple):
    """An entry that was found whole: its file, what it was built for, and what the build noted."""

    path: Path
    key: dict[str, Any]
    facts: dict[str, Any]


class Cache:
    """See the module. Several processes may use one directory; one of them builds an entry, the others wait for it."""

    def __init__(self, directory: Path | None = None) -> None:
        """Takes a directory, which need not exist; None: ``default_cache()``."""
        self.directory = directory if directory is not None else default_cache()

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
        found = [self._read(path, None)[0] for path in self.directory.glob("*.json")]
        return sorted((entry for entry in found if entry), key=lambda entry: json.dumps(entry.key, sort_keys=True))

    def build(
        self,
        key: Key,
        suffix: str,
        make: Callable[[Path], dict[str, Any]],
        report: Callable[[str], None] = lambda text: None,
        useless: Entry | None = None,
    ) -> Entry:
        """Returns the entry of ``key``; builds it where there is none.

        Args:
            key: What it depends on.
            suffix: Of its file, such as ``.pt2``.
            make: Writes the file at the path that it is given, in a folder of its own, and returns facts about it.
            report: Is told what is waited for.
            useless: An entry that is whole but does not load: it counts as none.

        Raises:
            InputError: The directory can't be used.
            OSError: It can't be written to, or ``make`` raised this.
        """
        if problem := make_private(self.directory):
            raise InputError(problem)
        with self._locked(key, report):
            entry, _ = self.find(key)
            if entry is not None and entry != useless:
                return entry
            self._sweep(key)
            return self._store(key, suffix, make)

    def _store(self, key: Key, suffix: str, make: Callable[[Path], dict[str, Any]]) -> Entry:
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
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                report("another process builds the same; waiting for it")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _sweep(self, key: Key) -> None:
        """Removes what killed builds left: of this key (its lock is held), and of others after a day."""
        for folder in self.directory.glob(".*"):
            with contextlib.suppress(OSError):
                age = time.time() - folder.stat().st_mtime
                if folder.name.startswith(f".{_digest(key)}.") or age > _SECONDS_UNTIL_ABANDONED:
                    shutil.rmtree(folder, ignore_errors=True)


def _digest(key: Key) -> str:
    return hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()[:24]
