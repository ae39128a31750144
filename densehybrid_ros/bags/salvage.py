"""What can still be read of a bag whose recording broke off: whole records of MCAP files, rows of SQLite files."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml

_MAGIC = b"\x89MCAP0\r\n"
_HEADER, _FOOTER, _DATA_END = 0x01, 0x02, 0x0F
_RECORD_HEAD = 9  # opcode and length
_CLOSING = (
    bytes([_DATA_END]) + (4).to_bytes(8, "little") + bytes(4)
    + bytes([_FOOTER]) + (20).to_bytes(8, "little") + bytes(20)
    + _MAGIC
)  # fmt: skip
"""The end of a file without a summary; readers then scan its records."""


def salvage(bag: Path, folder: Path) -> list[Path]:
    """Copies what is whole of a bag's files.

    Args:
        bag: Directory of a rosbag2, or one .mcap or .db3 file.
        folder: Where copies of damaged files go.

    Returns:
        Files that can be read, in order: whole ones where they lie, of the others copies that end with their last
        whole record. Empty where nothing is left, or the bag is stored in another way.
    """
    readable = []
    for kind, is_whole, copy in ((".mcap", _ends_well, _copy_whole_records), (".db3", _is_sound, _copy_rows)):
        files = sorted(bag.glob(f"*{kind}")) if bag.is_dir() else [bag] * (bag.suffix == kind)
        for number, file in enumerate(files):
            target = folder / f"{number}{kind}"
            if is_whole(file):
                readable.append(file)
            elif copy(file, target):
                readable.append(target)
    return readable


def promised_messages(bag: Path) -> dict[str, int]:
    """Returns how many messages ``metadata.yaml`` promises by topic; empty where there is none to be read."""
    try:
        content: Any = yaml.safe_load((bag / "metadata.yaml").read_text(encoding="utf-8"))
        topics = content["rosbag2_bagfile_information"]["topics_with_message_count"]
        return {str(item["topic_metadata"]["name"]): int(item["message_count"]) for item in topics}
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return {}


def _ends_well(file: Path) -> bool:
    with file.open("rb") as stream:
        stream.seek(max(file.stat().st_size - len(_MAGIC), 0))
        return stream.read() == _MAGIC


def _copy_whole_records(file: Path, target: Path) -> bool:
    """Copies a file up to its last whole record and closes it; False where not even a first record is whole."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        if stream.read(len(_MAGIC)) != _MAGIC:
            return False
        end = start = len(_MAGIC)
        while True:
            head = stream.read(_RECORD_HEAD)
            if len(head) < _RECORD_HEAD or head[0] in (_DATA_END, _FOOTER):
                break
            next_record = end + _RECORD_HEAD + int.from_bytes(head[1:], "little")
            if next_record > size or (end == start and head[0] != _HEADER):
                break
            end = next_record
            stream.seek(end)
    if end == start:
        return False
    shutil.copyfile(file, target)
    with target.open("r+b") as stream:
        stream.truncate(end)
        stream.seek(end)
        stream.write(_CLOSING)
    return True


def _is_sound(file: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?immutable=1", uri=True)) as database:
            return bool(database.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
    except sqlite3.Error:
        return False


def _copy_rows(file: Path, target: Path) -> bool:
    """Copies the rows of a SQLite file up to the first that can't be read; False where no message is left."""
    with (
        closing(sqlite3.connect(f"{file.absolute().as_uri()}?immutable=1", uri=True)) as source,
        closing(sqlite3.connect(target)) as copy,
    ):
        try:
            # Without this SQLite does not open a file that is shorter than its header says.
            source.execute("PRAGMA writable_schema=ON")
            tables = source.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
        except sqlite3.Error:
            return False
        for name, definition in tables:
            copy.execute(definition)
            _copy_table(source, copy, name)
        copy.commit()
        names = {name for name, _ in tables}
        return "messages" in names and copy.execute("SELECT count(*) FROM messages").fetchone()[0] > 0


def _copy_table(source: sqlite3.Connection, copy: sqlite3.Connection, name: str) -> None:
    try:
        for row in source.execute(f'SELECT * FROM "{name}" ORDER BY rowid'):  # in the order of writing
            copy.execute(f'INSERT INTO "{name}" VALUES ({",".join("?" * len(row))})', row)
    except sqlite3.Error:
        return  # what comes behind the damage is lost
