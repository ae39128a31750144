# SPDX-License-Identifier: Apache-2.0
"""The cache of built files: whole entries only, whoever wrote, broke or locked it."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from pathlib import Path

import pytest

from densehybrid_ros.inference.artifact_cache import ArtifactCache, default_cache

KEY = {"kind": "text", "number": 3, "nothing": None}


def write(text: str):
    def make(path: Path) -> dict:
        path.write_text(text)
        return {"length": len(text)}

    return make


def refuse(path: Path) -> dict:
    raise AssertionError("built although it was there")


@pytest.fixture
def cache(tmp_path: Path) -> ArtifactCache:
    return ArtifactCache(tmp_path / "not" / "yet there")


def test_what_was_built_is_found_again(cache: ArtifactCache) -> None:
    assert cache.find(KEY) == (None, "none in the cache")
    assert cache.entries() == []
    built = cache.build(KEY, ".txt", write("hello"))
    assert built.fresh
    assert built.entry.path.read_text() == "hello"
    again = cache.build(KEY, ".txt", refuse)
    assert (again.fresh, again.entry.facts) == (False, {"length": 5})
    assert [entry.key for entry in cache.entries()] == [KEY]
    assert cache.find({**KEY, "number": 4})[0] is None


def corrupt_file(cache: ArtifactCache) -> None:
    path = cache.find(KEY)[0].path
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def truncate_file(cache: ArtifactCache) -> None:
    os.truncate(cache.find(KEY)[0].path, 2)


def remove_file(cache: ArtifactCache) -> None:
    cache.find(KEY)[0].path.unlink()


def manifest_of(cache: ArtifactCache) -> Path:
    return next(cache.directory.glob("*.json"))


def truncate_manifest(cache: ArtifactCache) -> None:
    os.truncate(manifest_of(cache), 30)


def foreign_manifest(cache: ArtifactCache) -> None:
    manifest_of(cache).write_bytes(b"\x80\x00 not JSON at all")


def list_as_manifest(cache: ArtifactCache) -> None:
    manifest_of(cache).write_text("[1, 2]")


def another_key(cache: ArtifactCache) -> None:
    content = json.loads(manifest_of(cache).read_text())
    content["key"]["number"] = 7
    manifest_of(cache).write_text(json.dumps(content))


def directory_as_manifest(cache: ArtifactCache) -> None:
    manifest = manifest_of(cache)
    text = manifest.read_text()
    manifest.unlink()
    manifest.mkdir()
    (manifest / "x").write_text(text)


@pytest.mark.parametrize(
    "damage",
    [corrupt_file, truncate_file, remove_file, truncate_manifest, foreign_manifest, list_as_manifest, another_key],
)
def test_a_damaged_entry_is_not_found_and_is_rebuilt(cache: ArtifactCache, damage) -> None:
    cache.build(KEY, ".txt", write("hello"))
    damage(cache)
    entry, reason = cache.find(KEY)
    assert entry is None
    assert reason
    built = cache.build(KEY, ".txt", write("hello again"))
    assert built.fresh
    assert cache.find(KEY)[0].path.read_text() == "hello again"
    assert len(list(cache.directory.glob("*.txt"))) == 1


def test_what_cannot_be_replaced_is_built_aside(cache: ArtifactCache) -> None:
    cache.build(KEY, ".txt", write("hello"))
    directory_as_manifest(cache)
    built = cache.build(KEY, ".txt", write("aside"))
    assert "not stored" in built.note
    assert built.entry.path.read_text() == "aside"


def test_a_failed_build_leaves_nothing(cache: ArtifactCache) -> None:
    def fail(path: Path) -> dict:
        path.write_text("half")
        raise RuntimeError("compiler exploded")

    with pytest.raises(RuntimeError, match="exploded"):
        cache.build(KEY, ".txt", fail)
    assert [path.suffix for path in cache.directory.iterdir()] == [".lock"]


def test_leftovers_of_killed_builds_are_swept_but_not_those_at_work(cache: ArtifactCache) -> None:
    cache.build(KEY, ".txt", write("hello"))
    digest = manifest_of(cache).stem
    mine, other, old = (cache.directory / f".{name}.x" for name in (digest, "another", "ancient"))
    for folder in (mine, other, old):
        folder.mkdir()
        (folder / "artifact.txt").write_text("half")
    os.utime(old, (1, 1))
    truncate_file(cache)
    cache.build(KEY, ".txt", write("hello"))
    assert [folder.exists() for folder in (mine, other, old)] == [False, True, False]


def test_a_directory_that_cannot_be_made_does_not_stop_the_build(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = ArtifactCache(tmp_path / "file" / "cache")
    lines: list[str] = []
    built = cache.build(KEY, ".txt", write("hello"), lines.append)
    assert built.entry.path.read_text() == "hello"
    assert "not stored" in built.note
    assert lines == [built.note]


def test_a_read_only_directory_gives_what_it_has_and_stores_nothing(cache: ArtifactCache) -> None:
    cache.build(KEY, ".txt", write("hello"))
    before = sorted(cache.directory.iterdir())
    cache.directory.chmod(0o555)
    user = os.geteuid()
    try:
        if user == 0:
            for folder in cache.directory.parents:
                if Path(tempfile.gettempdir()) in folder.parents:  # those of pytest, never /tmp itself
                    folder.chmod(0o755)
            os.seteuid(65534)  # permissions do not stop root
        assert cache.build(KEY, ".txt", refuse).entry.path.read_text() == "hello"
        built = cache.build({**KEY, "number": 5}, ".txt", write("new"))
        assert built.entry.path.read_text() == "new"
        assert "Permission denied" in built.note
    finally:
        os.seteuid(user)
        cache.directory.chmod(0o755)
    assert sorted(cache.directory.iterdir()) == before


def test_one_builds_and_the_others_wait(cache: ArtifactCache) -> None:
    entered, let_go = threading.Event(), threading.Event()
    lines: list[str] = []

    def slow(path: Path) -> dict:
        entered.set()
        assert let_go.wait(60)
        return write("hello")(path)

    first = threading.Thread(target=cache.build, args=(KEY, ".txt", slow))
    first.start()
    assert entered.wait(60)
    results: list = []

    def wait_for_it() -> None:
        results.append(ArtifactCache(cache.directory).build(KEY, ".txt", refuse, told))

    def told(text: str) -> None:
        lines.append(text)
        let_go.set()

    second = threading.Thread(target=wait_for_it)
    second.start()
    second.join(60)
    first.join(60)
    assert lines == ["another process builds the same; waiting for it"]
    assert results[0].entry.path.read_text() == "hello"


@pytest.mark.parametrize(
    ("configured", "expected"), [("/somewhere", "/somewhere"), ("relative", "~/.cache"), ("", "~/.cache")]
)
def test_default_directory_follows_xdg(monkeypatch: pytest.MonkeyPatch, configured: str, expected: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", configured)
    assert default_cache() == Path(expected).expanduser() / "densehybrid_ros"
