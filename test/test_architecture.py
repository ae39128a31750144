# SPDX-License-Identifier: Apache-2.0
"""The layers of the package hold, and no file names a place that others do not have."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = "densehybrid_ros"
LAYERS = (
    {"confidence", "errors", "files", "host_memory", "pages", "processes", "progress", "resources", "shared_memory"},
    {"datasets", "networks", "scores"},
    {"hazards", "inference"},
    {"bags", "perception", "training"},
    {"evaluation"},
    {"demo", "nodes"},
    {"research"},
    {"cli"},
)
"""Parts of the package from the ground up; a part may import its own layer and those below."""

ROS_MODULE = re.compile(
    r"(rclpy|rcl_interfaces|lifecycle_msgs|builtin_interfaces|ament_index_python|cv_bridge|launch(_\w+)?|\w+_msgs|\w+_srvs)"
)
FORBIDDEN_TEXT = {
    "host of a package registry": re.compile(
        r"pypi\.org|pythonhosted\.org|npmjs\.org|download\.pytorch\.org|deb\.debian\.org|archive\.ubuntu\.com"
    ),
    "path of one machine": re.compile(r"(?<![\w./-])/(?:work|root|home/\w+|Users/\w+|opt/(?:pypi|wheels))\b"),
}


def modules() -> list[Path]:
    """All modules of the package's parts."""
    package = REPOSITORY / PACKAGE
    return sorted(set(package.rglob("*.py")) - {package / "__init__.py", package / "__main__.py"})


def part_of(path: Path) -> str:
    """``densehybrid_ros/bags/reader.py`` -> ``bags``."""
    return path.relative_to(REPOSITORY / PACKAGE).parts[0].removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    """The parts of the package that the file imports: ``densehybrid_ros.bags.reader`` -> ``bags``."""
    return {name.split(".")[1] for name in imports(path) if name.startswith(f"{PACKAGE}.")}


def imports(path: Path) -> set[str]:
    """All modules that the file imports, inside functions and type-checking blocks too."""
    here = path.relative_to(REPOSITORY).with_suffix("").parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = here[: -node.level] if node.level else ()
            base += (node.module,) if node.module else ()
            found |= {".".join((*base, alias.name)) for alias in node.names}
    return found


def test_imports_are_found_at_any_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("test_architecture.REPOSITORY", tmp_path)
    file = tmp_path / PACKAGE / "bags" / "module.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "import os.path\ndef f():\n  from rclpy.node import Node\n  from ..nodes import a\n  from .. import b\n"
    )
    assert imports(file) == {"os.path", "rclpy.node.Node", f"{PACKAGE}.nodes.a", f"{PACKAGE}.b"}


def test_every_part_belongs_to_a_layer() -> None:
    assert {part_of(path) for path in modules()} == set().union(*LAYERS)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_ros_stays_in_nodes_and_the_demo(path: Path) -> None:
    ros = {name for name in imports(path) if ROS_MODULE.fullmatch(name.split(".")[0])}
    assert not ros or part_of(path) in ("demo", "nodes"), f"only nodes/ and demo/ may import {sorted(ros)}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_arrows_go_one_way(path: Path) -> None:
    height = {part: layer for layer, parts in enumerate(LAYERS) for part in parts}
    upward = {part for part in imported_parts(path) & height.keys() if height[part] > height[part_of(path)]}
    assert not upward, f"{part_of(path)} lies below {sorted(upward)}"


def test_only_the_command_line_imports_research() -> None:
    assert {part_of(path) for path in modules() if "research" in imported_parts(path)} <= {"cli", "research"}


def circle(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """What is left of a graph once nodes without an arrow out of them are taken away, again and again."""
    while leaves := {name for name, targets in arrows.items() if not targets}:
        arrows = {name: targets - leaves for name, targets in arrows.items() if name not in leaves}
    return arrows


def test_parts_do_not_import_each_other_in_a_circle() -> None:
    arrows: dict[str, set[str]] = {part: set() for parts in LAYERS for part in parts}
    for path in modules():
        arrows[part_of(path)] |= (imported_parts(path) & arrows.keys()) - {part_of(path)}
    assert not circle(arrows), f"these import each other: {circle(arrows)}"


def test_modules_of_a_folder_do_not_import_each_other_in_a_circle() -> None:
    known = {".".join(path.relative_to(REPOSITORY).with_suffix("").parts): path for path in modules()}
    arrows = {name: {module_of(target, known) for target in imports(path)} for name, path in known.items()}
    arrows = {name: targets - {"", name} for name, targets in arrows.items()}
    assert not circle(arrows), f"these import each other: {circle(arrows)}"


def module_of(name: str, known: Collection[str]) -> str:
    """The module that an imported name lies in: ``densehybrid_ros.bags.reader.BagFrames`` -> without the class."""
    while name and name not in known and f"{name}.__init__" not in known:
        name = name.rpartition(".")[0]
    return name if name in known or not name else f"{name}.__init__"


def test_test_modules_have_names_of_their_own() -> None:
    names = Counter(path.name for path in (REPOSITORY / "test").rglob("*.py") if path.name != "conftest.py")
    shared = [name for name, count in names.items() if count > 1]
    assert not shared, f"pytest imports one of {shared} for the other; rename it"


@pytest.mark.skipif(
    shutil.which("git") is None or not (REPOSITORY / ".git").exists(), reason="not a git checkout: no list of files"
)
def test_no_file_names_a_registry_host_or_a_path_of_one_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    ).stdout
    names = [name for name in listed.decode().split("\0") if name]
    assert "setup.py" in names
    found = []
    for name in names:
        path = REPOSITORY / name
        content = path.read_bytes() if path.is_file() and path != Path(__file__).resolve() else b""
        if b"\0" in content[:8192]:
            continue
        for number, line in enumerate(content.decode("utf-8", errors="replace").splitlines(), 1):
            found += [f"{name}:{number}: {what}" for what, pattern in FORBIDDEN_TEXT.items() if pattern.search(line)]
    assert not found, "\n".join(found)
