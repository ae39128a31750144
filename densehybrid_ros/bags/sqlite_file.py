# SPDX-License-Identifier: Apache-2.0
"""SQLite files of rosbag2, read without running anything that they hold."""

from __future__ import annotations

import os
import shutil
import sqlite3
import weakref
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from densehybrid_ros.bags.record_files import Channel, Place, StoredMessage, is_latched
from densehybrid_ros.files import writing

SQLITE_MAGIC = b"SQLite format 3"
_TABLES = ("messages", "topics")
_JOURNALS = ("-wal", "-journal")


class SqliteFile:
    """A .db3 file.

    What a recorder that was killed left in a journal beside the file is read too, from a copy, so that nothing is
    written beside the recording.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        """Notes which file to read; ``folder`` takes copies."""
        self.channels: dict[int, Channel] = {}
        self.damage = ""
        copy = folder / path.name
        journals = [Path(f"{path}{ending}") for ending in _JOURNALS]
        journals = [journal for journal in journals if journal.is_file() and journal.stat().st_size]
        self._address = f"{path.absolute().as_uri()}?immutable=1"
        if journals:
            for file in (path, *journals):
                _copy(file, folder / file.name)
            self._address = f"{copy.absolute().as_uri()}?mode=rw"
        elif rest := _bytes_of_last_page(path):
            # SQLite would take what is missing of the last page for zeros, in the middle of a picture too.
            _copy(path, copy)
            os.truncate(copy, copy.stat().st_size - rest)
            self._address = f"{copy.absolute().as_uri()}?immutable=1"

    def scan(self) -> Iterator[StoredMessage]:
        """Yields all messages in the order of the file, up to what can't be read, which ``damage`` then says."""
        self.damage = ""
        try:
            self._look_up()
            rows = self._database.execute("SELECT rowid, topic_id, timestamp, data FROM messages NOT INDEXED")
            for number, topic, time, data in rows:
                if isinstance(topic, int) and isinstance(time, int) and isinstance(data, bytes):
                    yield StoredMessage(topic, time, data, (0, number))
        except (sqlite3.Error, KeyError, ValueError) as error:
            self.damage = f"can't be read on ({error})"

    def read(self, place: Place) -> bytes:
        """Returns the data of a message again; none where the file is so damaged that a second look fails."""
        try:
            rows = self._database.execute("SELECT data FROM messages WHERE rowid = ?", (place[1],)).fetchall()
        except sqlite3.Error:
            rows = []
        return bytes(rows[0][0]) if rows else b""

    def _look_up(self) -> None:
        database = self._database
        found = database.execute("SELECT name, type, rootpage FROM sqlite_master").fetchall()
        tables = {name for name, kind, page in found if kind == "table" and page}  # neither a view nor virtual
        if missing := [name for name in _TABLES if name not in tables]:
            raise sqlite3.DatabaseError(f"no table {missing[0]}")
        for name in _TABLES:
            if any(column[-1] for column in database.execute(f"PRAGMA table_xinfo({name})")):
                raise sqlite3.DatabaseError(f"table {name} has columns that are computed")
        topics = database.execute("SELECT * FROM topics NOT INDEXED")
        names = [column[0] for column in topics.description]
        for row in topics:
            topic = dict(zip(names, row, strict=True))
            encoding = str(topic.get("serialization_format") or "cdr")
            latched = is_latched(topic.get("offered_qos_profiles"))
            self.channels[topic["id"]] = Channel(str(topic["name"]), str(topic["type"]), encoding, latched)

    @cached_property
    def _database(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._address, uri=True, check_same_thread=False)
        weakref.finalize(self, database.close)
        database.text_factory = lambda text: text.decode(errors="replace")
        database.execute("PRAGMA trusted_schema=OFF")
        # Without this SQLite opens no file that is shorter than its header says. The authorizer then forbids writing.
        database.execute("PRAGMA writable_schema=ON")
        database.set_authorizer(_allow)
        return database


def _copy(path: Path, target: Path) -> None:
    with path.open("rb") as source, writing(target), target.open("wb") as copy:
        shutil.copyfileobj(source, copy)


def _bytes_of_last_page(path: Path) -> int:
    """Returns how many bytes the last page of a file has, 0 where it is whole."""
    with path.open("rb") as stream:
        head = stream.read(18)
    size = int.from_bytes(head[16:18], "big")
    return path.stat().st_size % (size if size > 1 else 65536) if head.startswith(SQLITE_MAGIC) else 0


def _allow(action: int, first: str | None, *_: str | None) -> int:
    """Allows to read the tables of a recording, and nothing else: no function, view, trigger or setting."""
    described = action == sqlite3.SQLITE_PRAGMA and first == "table_xinfo"
    readable = first in (*_TABLES, "sqlite_master", "sqlite_schema")
    allowed = described or action == sqlite3.SQLITE_SELECT or (action == sqlite3.SQLITE_READ and readable)
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY
