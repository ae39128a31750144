# SPDX-License-Identifier: Apache-2.0
"""Folders of native code: whose they must be, and who may not write to them."""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_network import SIZE, tiny_model

from densehybrid_ros.inference import Segmenter
from densehybrid_ros.inference.artifact_cache import ArtifactCache
from densehybrid_ros.inference.compiler_cache import keep_compiled_apart
from densehybrid_ros.inference.engine_builder import BackgroundBuild
from densehybrid_ros.inference.engine_cache import EngineCache
from densehybrid_ros.inference.engines import EngineSpec
from densehybrid_ros.inference.host_kernels import compiler, host_kernels
from densehybrid_ros.inference.private_folder import make_private, sharing_problem
from densehybrid_ros.networks import LoadedModel

KEY = {"kind": "text"}
NOBODY = 65534


def write(path: Path) -> dict:
    path.write_text("hello")
    return {}


@pytest.fixture
def cache(tmp_path: Path) -> ArtifactCache:
    made = ArtifactCache(tmp_path / "above" / "cache")
    made.build(KEY, ".txt", write)
    return made


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def test_what_is_made_is_private_whatever_the_umask(open_umask: None, cache: ArtifactCache) -> None:
    assert sharing_problem(cache.directory) == ""
    for path in (cache.directory.parent, cache.directory, *cache.directory.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o644), path
    assert cache.find(KEY)[0] is not None


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
@pytest.mark.parametrize("place", ["cache", "above", "*.json", "*.txt"])
def test_a_cache_that_others_can_write_to_is_not_used(cache: ArtifactCache, mode: int, place: str) -> None:
    path = {"cache": cache.directory, "above": cache.directory.parent}.get(place)
    path = path or next(cache.directory.glob(place))
    path.chmod(mode)
    if place == "above" and mode == 0o1777:  # as /tmp
        assert cache.problem == ""
        return
    expected = f"engine cache {cache.directory} is not used: others can write to {path}; chmod go-w {path}, or "
    assert cache.problem.startswith(expected)
    assert "\n" not in cache.problem
    assert cache.find(KEY) == (None, cache.problem)
    assert cache.entries() == []
    before = sorted(cache.directory.iterdir())
    built = cache.build(KEY, ".txt", write)
    assert built.fresh
    assert built.note == f"not stored: {cache.problem}"
    assert built.entry.path.parent != cache.directory
    assert sorted(cache.directory.iterdir()) == before
    path.chmod(mode & ~0o22)
    assert cache.find(KEY)[0] is not None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("place", [".", "..", "*.txt"])
def test_a_cache_of_another_user_is_not_used(cache: ArtifactCache, place: str) -> None:
    path = next(cache.directory.glob(place)) if "*" in place else (cache.directory / place).resolve()
    os.chown(path, NOBODY, NOBODY)
    assert f"{path} belongs to another user" in cache.problem
    assert cache.find(KEY)[0] is None


def test_links_do_not_hide_what_they_lead_to(cache: ArtifactCache, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(cache.directory)
    assert ArtifactCache(link).find(KEY)[0] is not None
    cache.directory.parent.chmod(0o777)
    assert ArtifactCache(link).find(KEY)[0] is None
    cache.directory.parent.chmod(0o700)
    (cache.directory / "other.txt").symlink_to(tmp_path)
    assert "other.txt is a link" in cache.problem


def test_nothing_is_made_in_a_folder_that_others_can_write_to(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    assert f"others can write to {tmp_path}" in make_private(tmp_path / "cache" / "inner")
    assert not list(tmp_path.iterdir())


def test_a_segmenter_warns_once_and_loads_nothing_from_there(tmp_path: Path, tiny: LoadedModel) -> None:
    kernels_are_built = compiler() is not None
    with pytest.MonkeyPatch.context() as patch:
        loaded: list[str] = []
        load = ctypes.CDLL
        patch.setattr("ctypes.CDLL", lambda name: (loaded.append(name), load(name))[1])
        folder = tmp_path / "shared"
        folder.mkdir()
        folder.chmod(0o777)
        lines: list[str] = []
        Segmenter(tiny, "auto", "cpu", cache=folder, warn=lines.append)
        kernels, _ = host_kernels(ArtifactCache(folder))
    assert [line for line in lines if "C++" not in line] == [sharing_problem(folder)]
    assert (kernels is not None) is kernels_are_built
    assert not list(folder.iterdir())
    assert not any(str(folder) in str(name) for name in loaded)


def test_a_build_in_the_background_goes_to_a_folder_of_its_own(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    cache = EngineCache(tiny_model(), "tiny", torch.device("cpu"), tmp_path)
    build = BackgroundBuild(cache, EngineSpec("inductor", SIZE, "fp32"), tmp_path / "no.safetensors", ["echo"])
    assert build.wait(60)
    assert f"--cache {tmp_path}" not in build.error
    assert "--cache" in build._lines[-1]
    tmp_path.chmod(0o700)


def test_inductor_keeps_what_it_compiles_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/chosen")
    keep_compiled_apart()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/chosen"
    for mode, inside in ((0o700, True), (0o777, False)):
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
        tmp_path.chmod(mode)
        keep_compiled_apart()
        folder = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
        assert folder.is_relative_to(tmp_path) is inside
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
