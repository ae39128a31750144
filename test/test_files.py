# SPDX-License-Identifier: Apache-2.0
"""Files appear whole or not at all, and what can't be written is one line that names the file."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from densehybrid_ros.bags.writer import RawBagWriter
from densehybrid_ros.errors import OutputError
from densehybrid_ros.files import (
    atomic_directory,
    atomic_file,
    make_folder,
    write_text_atomically,
    write_together,
    writing,
)

NOBODY = 65534


@pytest.mark.parametrize(
    ("name", "reason"),
    [("file/a/b.json", "Not a directory"), ("folder", "Is a directory"), ("b" * 300, "File name too long")],
)
def test_what_can_be_no_file_is_one_line(name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder" / "c").mkdir(parents=True)
    path = tmp_path / name
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError) as caught:
        write_text_atomically(path, "new")
    assert str(caught.value) == f"{path}: can't be written: {reason}"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_device_is_written_as_it_is() -> None:
    with pytest.raises(OutputError, match=r"^/dev/full: can't be written: No space left on device$"):
        write_text_atomically(Path("/dev/full"), "new")
    write_text_atomically(Path("/dev/null"), "new")
    assert all(Path(f"/dev/{name}").is_char_device() for name in ("full", "null"))


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    write_text_atomically(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


def test_a_new_file_is_as_readable_as_any_and_its_name_may_be_long(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    path = tmp_path / "new" / ("ü" * 100 + ".json")
    write_text_atomically(path, "ü")
    assert path.read_bytes() == "ü".encode()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_an_error_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(TypeError), atomic_file(path) as file:
        file.writelines([b"half", None])  # type: ignore[list-item]
    assert [(item.name, item.read_text()) for item in tmp_path.iterdir()] == [("file", "old")]


def test_of_files_that_belong_together_none_is_new_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / "file").write_text("old")
    with pytest.raises(OutputError, match="file/b: can't be written"):
        write_together({tmp_path / "a": b"new", tmp_path / "file" / "b": b"new"})
    assert (tmp_path / "a").read_text() == "old"


def test_a_folder_where_a_file_is_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file: can't be written: File exists"):
        make_folder(tmp_path / "file")
    with (
        pytest.raises(OutputError, match="file/bag: can't be written: Not a directory"),
        atomic_directory(tmp_path / "file" / "bag"),
    ):
        pass


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(BrokenPipeError), writing("file"):
        raise BrokenPipeError
    with pytest.raises(OutputError, match=r"^file: can't be written: full$"), writing("file", sqlite3.Error):
        raise sqlite3.OperationalError("full")


def test_a_folder_that_is_read_only_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)  # root may write anywhere
    try:
        with pytest.raises(OutputError, match="a: can't be written: Permission denied"):
            write_text_atomically(tmp_path / "a", "new")
    finally:
        os.seteuid(user)
        tmp_path.chmod(0o755)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_bag_that_has_no_room_leaves_nothing(storage: str, tmp_path: Path) -> None:
    """A limit on the size of files is met where a full disk would be: at a write in the middle."""
    message = bytes(100_000)

    def write() -> None:
        with RawBagWriter(tmp_path / "bag", storage) as writer:
            writer.add_topic("/topic", "sensor_msgs/msg/Image")
            for stamp in range(100):
                writer.write_raw("/topic", stamp, os.urandom(10) + message)

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    try:
        with pytest.raises(OutputError, match="bag: can't be written: "):
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    """A real one, where mounting is allowed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("file systems can't be mounted here")
    try:
        path = disk / "file"
        write_text_atomically(path, "old")
        with pytest.raises(OutputError) as caught:
            write_text_atomically(path, "new" * 50_000)
        assert str(caught.value) == f"{path}: can't be written: No space left on device"
        assert [(item.name, item.read_text()) for item in disk.iterdir()] == [("file", "old")]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_output_that_nobody_reads_is_no_traceback() -> None:
    def help_into(output: int) -> tuple[int, str]:
        command = [sys.executable, "-m", "densehybrid_ros", "--help"]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        ended = subprocess.run(command, env=environment, stdout=output, stderr=subprocess.PIPE, text=True, check=False)
        os.close(output)
        return ended.returncode, ended.stderr

    read, write = os.pipe()
    os.close(read)
    assert help_into(write) == (128 + signal.SIGPIPE, "")
    status, line = help_into(os.open("/dev/full", os.O_WRONLY))
    assert status == 2
    assert line == "densehybrid: standard output: can't be written: No space left on device\n"
