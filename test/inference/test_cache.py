# SPDX-License-Identifier: Apache-2.0
"""The cache of built files: whole entries only, whoever wrote, broke, locked or owns it."""

from __future__ import annotations

import ctypes
import os
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from densehybrid_ros.errors import InputError
from densehybrid_ros.inference import Segmenter
from densehybrid_ros.inference.cache import Cache, default_cache, make_private, sharing_problem, usable_folder
from densehybrid_ros.inference.engines import keep_compiled_apart
from densehybrid_ros.inference.host_kernels import compiler, host_kernels
from densehybrid_ros.networks import LoadedModel

KEY = {"kind": "text", "number": 3, "nothing": None}
NOBODY = 65534


def write(text: str) -> Callable[[Path], dict]:
    def make(path: Path) -> dict:
        path.write_text(text)
        return {"length": len(text)}

    return make


def refuse(path: Path) -> dict:
    raise AssertionError("built although it was there")


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    """A cache with one entry, made with an open umask."""
    before = os.umask(0)
    made = Cache(tmp_path / "above" / "cache")
    made.build(KEY, ".txt", write("hello"))
    os.umask(before)
    return made


def file_of(cache: Cache, suffix: str = ".txt") -> Path:
    return next(cache.directory.glob(f"*{suffix}"))


def test_what_was_built_is_found_again(cache: Cache) -> None:
    again = cache.build(KEY, ".txt", refuse)
    assert (again.path.read_text(), again.facts) == ("hello", {"length": 5})
    assert [entry.key for entry in cache.entries()] == [KEY]
    assert cache.find({**KEY, "number": 4}) == (None, "none in the cache")
    assert Cache(cache.directory / "none").entries() == []


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        pytest.param(".txt", lambda path: path.write_text("hell!"), id="another text"),
        pytest.param(".txt", lambda path: os.truncate(path, 2), id="truncated"),
        pytest.param(".txt", Path.unlink, id="removed"),
        pytest.param(".json", lambda path: os.truncate(path, 30), id="truncated manifest"),
        pytest.param(".json", lambda path: path.write_bytes(b"\x80\x00 no JSON"), id="no JSON"),
        pytest.param(".json", lambda path: path.write_text("[1, 2]"), id="a list"),
        pytest.param(
            ".json", lambda path: path.write_text(path.read_text().replace('"number": 3', '"number": 7')), id="key"
        ),
    ],
)
def test_a_damaged_entry_is_not_found_and_is_built_again(cache: Cache, suffix: str, damage) -> None:
    damage(file_of(cache, suffix))
    entry, reason = cache.find(KEY)
    assert entry is None
    assert reason
    cache.build(KEY, ".txt", write("hello again"))
    assert cache.find(KEY)[0].path.read_text() == "hello again"
    assert len(list(cache.directory.glob("*.txt"))) == 1


def test_what_is_whole_but_useless_is_built_again(cache: Cache) -> None:
    useless = cache.find(KEY)[0]
    assert cache.build(KEY, ".txt", write("better"), useless=useless).path.read_text() == "better"
    assert not useless.path.exists()


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def fail(path: Path) -> dict:
        path.write_text("half")
        raise RuntimeError("compiler exploded")

    with pytest.raises(RuntimeError, match="exploded"):
        Cache(tmp_path / "cache").build(KEY, ".txt", fail)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_leftovers_of_killed_builds_are_swept_but_not_those_at_work(cache: Cache) -> None:
    digest = file_of(cache, ".json").stem
    mine, other, old = (cache.directory / f".{name}.x" for name in (digest, "another", "ancient"))
    for folder in (mine, other, old):
        folder.mkdir(mode=0o700)
        (folder / "artifact.txt").write_text("half")
    os.utime(old, (1, 1))
    file_of(cache).unlink()
    cache.build(KEY, ".txt", write("hello"))
    assert [folder.exists() for folder in (mine, other, old)] == [False, True, False]


def test_a_read_only_folder_gives_what_it_has(cache: Cache) -> None:
    cache.directory.chmod(0o555)
    user = os.geteuid()
    try:
        if user == 0:
            for folder in cache.directory.parents:
                if Path(tempfile.gettempdir()) in folder.parents:  # those of pytest, never /tmp itself
                    folder.chmod(0o755)
            os.chown(cache.directory, NOBODY, NOBODY)
            os.seteuid(NOBODY)  # permissions do not stop root
        assert cache.find(KEY)[0].path.read_text() == "hello"
        with pytest.raises(InputError, match=f"{cache.directory} is not used: it can't be written to; chmod u"):
            cache.build({**KEY, "number": 5}, ".txt", refuse)
    finally:
        os.seteuid(user)
        cache.directory.chmod(0o755)


def test_one_builds_and_the_others_wait(cache: Cache) -> None:
    key = {**KEY, "number": 4}
    entered, let_go = threading.Event(), threading.Event()
    lines: list[str] = []
    results: list[str] = []

    def slow(path: Path) -> dict:
        entered.set()
        assert let_go.wait(60)
        return write("hello")(path)

    def told(text: str) -> None:
        lines.append(text)
        let_go.set()

    first = threading.Thread(target=cache.build, args=(key, ".txt", slow))
    first.start()
    assert entered.wait(60)
    results.append(Cache(cache.directory).build(key, ".txt", refuse, told).path.read_text())
    first.join(60)
    assert lines == ["another process builds the same; waiting for it"]
    assert results == ["hello"]


@pytest.mark.parametrize(
    ("configured", "expected"), [("/somewhere", "/somewhere"), ("relative", "~/.cache"), ("", "~/.cache")]
)
def test_default_directory_follows_xdg(monkeypatch: pytest.MonkeyPatch, configured: str, expected: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", configured)
    assert default_cache() == Path(expected).expanduser() / "densehybrid_ros"


def test_what_is_made_is_private_whatever_the_umask(cache: Cache) -> None:
    assert sharing_problem(cache.directory) == ""
    for path in (cache.directory.parent, cache.directory, file_of(cache), file_of(cache, ".json")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o644), path


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777, None], ids=lambda mode: f"{mode:o}" if mode else "another's")
@pytest.mark.parametrize("place", [".", "..", "*.json", "*.txt"])
def test_a_cache_that_others_can_change_is_not_used(cache: Cache, mode: int | None, place: str) -> None:
    path = next(cache.directory.glob(place)) if "*" in place else (cache.directory / place).resolve()
    private, owner = stat.S_IMODE(path.stat().st_mode), path.stat().st_uid
    if mode is not None:
        path.chmod(mode)
    elif owner == 0:
        os.chown(path, NOBODY, NOBODY)
    else:
        pytest.skip("only root can give files away")
    if place == ".." and mode == 0o1777:  # as /tmp
        assert cache.problem == ""
        return
    problem = f"others can write to {path}; chmod go-w {path}" if mode else f"{path} belongs to another user; remove it"
    assert cache.problem.startswith(f"engine cache {cache.directory} is not used: {problem}, or ")
    assert "\n" not in cache.problem
    assert cache.find(KEY) == (None, cache.problem)
    assert cache.entries() == []
    with pytest.raises(InputError, match=problem.partition(";")[0]):
        cache.build(KEY, ".txt", refuse)
    aside = usable_folder(cache.directory)
    assert (aside != cache.directory, stat.S_IMODE(aside.stat().st_mode)) == (True, 0o700)
    path.chmod(private)
    os.chown(path, owner, -1)
    assert cache.find(KEY)[0] is not None
    assert usable_folder(cache.directory) == cache.directory


def test_links_do_not_hide_what_they_lead_to(cache: Cache, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(cache.directory)
    assert Cache(link).find(KEY)[0] is not None
    cache.directory.parent.chmod(0o777)
    assert Cache(link).find(KEY)[0] is None
    cache.directory.parent.chmod(0o700)
    (cache.directory / "other.txt").symlink_to(tmp_path)
    assert "other.txt is a link" in cache.problem


def test_where_no_folder_can_be_made_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "Not a directory" in make_private(tmp_path / "file" / "cache")
    tmp_path.chmod(0o777)
    assert f"others can write to {tmp_path}" in make_private(tmp_path / "cache" / "inner")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_segmenter_warns_once_and_loads_nothing_from_a_shared_folder(
    tmp_path: Path, tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    load = ctypes.CDLL
    monkeypatch.setattr("ctypes.CDLL", lambda name: (loaded.append(name), load(name))[1])
    tmp_path.chmod(0o777)
    lines: list[str] = []
    Segmenter(tiny, "auto", "cpu", cache=tmp_path, warn=lines.append)
    assert [line for line in lines if "C++" not in line] == [sharing_problem(tmp_path)]
    assert (host_kernels(tmp_path)[0] is not None) is (compiler() is not None)
    assert not list(tmp_path.iterdir())
    assert not any(str(tmp_path) in str(name) for name in loaded)


def test_inductor_keeps_what_it_compiles_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for mode, chosen, inside in ((0o700, "/chosen", None), (0o700, "", True), (0o777, "", False)):
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", chosen)
        tmp_path.chmod(mode)
        keep_compiled_apart()
        folder = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
        if chosen:
            assert str(folder) == chosen
            continue
        assert folder.is_relative_to(tmp_path) is inside
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
