# SPDX-License-Identifier: Apache-2.0
"""What is declared agrees, and what colcon installs is complete and runs."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest
import setuptools
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import densehybrid_ros

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).resolve().parents[1]
NAME = "densehybrid_ros"
MODULE_OF = {"backports-zstd": "backports", "opencv-python-headless": "cv2", "pillow": "PIL", "pyyaml": "yaml"}
"""Distribution -> module, where it is more than a change of hyphens."""
ROS_WHEELS = "ros-jazzy-"
PINS = ("run.txt", "test.txt", "networks.txt", "docs.txt")
GUARD = r"except \(?ImportError"
"""How code that does without a module when it is missing catches that."""

needs_colcon = pytest.mark.skipif(importlib.util.find_spec("colcon_ros") is None, reason="colcon is not installed")


@pytest.fixture(scope="module")
def declared() -> dict:
    """The arguments that setup.py gives to setup()."""
    arguments: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(REPOSITORY)
        patch.setattr(setuptools, "setup", lambda **keywords: arguments.update(keywords))
        runpy.run_path("setup.py")
    return arguments


@pytest.fixture(scope="module")
def package_xml() -> xml.etree.ElementTree.Element:
    return xml.etree.ElementTree.parse(REPOSITORY / "package.xml").getroot()


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def required(lines: list[str]) -> dict[str, list[Requirement]]:
    """Requirements by canonical name; comments and references to other files are left out."""
    found: dict[str, list[Requirement]] = {}
    for line in lines:
        text = line.partition("#")[0].strip()
        if text and not text.startswith("-"):
            found.setdefault(canonicalize_name(Requirement(text).name), []).append(Requirement(text))
    return found


def requirements_file(name: str) -> dict[str, list[Requirement]]:
    return required((REPOSITORY / "requirements" / name).read_text(encoding="utf-8").splitlines())


def test_names_and_versions_agree(declared: dict, package_xml, project: dict) -> None:
    assert declared["name"] == project["name"] == package_xml.findtext("name") == NAME
    assert declared["version"] == package_xml.findtext("version") == densehybrid_ros.__version__
    assert declared["python_requires"] == project["requires-python"]


def test_licence_is_apache_everywhere(declared: dict, package_xml) -> None:
    assert declared["license"] == package_xml.findtext("license") == "Apache-2.0"
    text = " ".join((REPOSITORY / "LICENSE").read_text(encoding="utf-8").split())
    assert text.startswith("Apache License Version 2.0, January 2004")
    assert "END OF TERMS AND CONDITIONS" in text


def test_every_python_file_names_the_licence() -> None:
    line = "# SPDX-License-Identifier: Apache-2.0\n"
    files = [REPOSITORY / "setup.py"]
    files += [path for folder in (NAME, "launch", "test", "tools") for path in (REPOSITORY / folder).rglob("*.py")]
    missing = [str(path.relative_to(REPOSITORY)) for path in files if not path.read_text("utf-8").startswith(line)]
    assert not missing, f"these do not begin with {line}"


def test_the_version_stands_in_package_xml_alone(package_xml) -> None:
    version = re.compile(rf"(?<![.\d]){re.escape(package_xml.findtext('version'))}(?![.\d])")
    places = ("setup.py", "pyproject.toml", "CITATION.cff", f"{NAME}/__init__.py", f"{NAME}/resources.py")
    assert not [name for name in places if version.search((REPOSITORY / name).read_text(encoding="utf-8"))]


def test_the_citation_has_what_the_format_requires() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    (paper,) = citation["references"]
    assert {"type", "title", "authors"} <= paper.keys()


def test_the_workflow_runs_every_declared_python(project: dict) -> None:
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/test.yml").read_text(encoding="utf-8"))
    job = workflow["jobs"]["test"]
    assert job["strategy"]["matrix"]["python"] == ["3.10", "3.11", "3.12", "3.13"]
    assert project["requires-python"] == ">=3.10"
    assert any("make test" in step.get("run", "") for step in job["steps"])


def test_hooks_run_the_linters_of_make() -> None:
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (local,) = hooks["repos"]
    assert local["repo"] == "local"
    assert {hook["entry"].split()[0] for hook in local["hooks"]} == {".venv/bin/ruff", ".venv/bin/mypy"}


def test_colcon_takes_the_maintainer_for_valid(package_xml) -> None:
    # With another form colcon takes the package for plain Python, without a word.
    assert re.fullmatch(r"[-\w.+]+@[-\w]+(\.[-\w]+)+", package_xml.find("maintainer").get("email"))


def test_dynamic_fields_are_those_that_setup_py_gives(declared: dict, project: dict) -> None:
    given = {
        "version": "version",
        "description": "description",
        "maintainers": "maintainer",
        "dependencies": "install_requires",
        "optional-dependencies": "extras_require",
        "scripts": "entry_points",
        "entry-points": "entry_points",
        "license": "license",
    }
    assert set(project["dynamic"]) == set(given)
    assert all(declared[argument] for argument in given.values())
    assert list(declared["entry_points"]) == ["console_scripts", "densehybrid_ros.networks"]


def test_its_type_hints_are_shipped(declared: dict) -> None:
    assert (REPOSITORY / NAME / "py.typed").is_file()
    assert "py.typed" in declared["package_data"][""]


def test_entry_points_lead_to_functions(declared: dict) -> None:
    for line in declared["entry_points"]["console_scripts"]:
        target = line.partition("=")[2].strip()
        module, _, function = target.partition(":")
        tree = ast.parse((REPOSITORY / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, line


def test_pins_lie_in_the_declared_ranges(declared: dict) -> None:
    ranges = required(
        declared["install_requires"] + [line for extra in declared["extras_require"].values() for line in extra]
    )
    pins = {name: pins for file in PINS for name, pins in requirements_file(file).items()}
    assert not ranges.keys() - pins.keys() - {"opencv-python-headless", "openvino"}  # 50 MB: tests of it skip without
    for name, pinned in pins.items():
        for pin in pinned:
            (specifier,) = pin.specifier
            assert specifier.operator == "==", f"{pin} is not exact"
            for allowed in ranges.get(name, []):
                assert allowed.specifier.contains(specifier.version), f"{pin} is outside {allowed}"


def test_every_python_from_310_has_one_pin_each() -> None:
    for file in ("run.txt", "test.txt"):
        for name, pins in requirements_file(file).items():
            for version in ("3.10", "3.11", "3.12", "3.13"):
                fitting = [pin for pin in pins if not pin.marker or pin.marker.evaluate({"python_version": version})]
                assert len(fitting) == 1, f"{file}: {name} on Python {version}: {fitting}"


def test_a_ros_machine_gets_the_declared_ranges(declared: dict) -> None:
    ranges = required(declared["install_requires"])
    for name, (requirement,) in requirements_file("ros_machine.txt").items():
        assert [requirement.specifier] == [allowed.specifier for allowed in ranges[name]]


def imported_names(node: ast.AST) -> set[str]:
    """Top-level modules of one import statement; nothing for other statements and relative imports."""
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and not node.level:
        return {node.module.partition(".")[0]}
    return set()


def needed_modules(path: Path) -> set[str]:
    """Modules that the file imports, less those that it tries and says what happens when they are missing."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    guards = [node for node in nodes if isinstance(node, ast.Try) and re.search(GUARD, ast.unparse(node))]
    tried = [inner for guard in guards for statement in guard.body for inner in ast.walk(statement)]
    return set().union(*map(imported_names, nodes)) - set().union(*map(imported_names, tried))


def test_everything_imported_is_declared(declared: dict, package_xml) -> None:
    package = REPOSITORY / NAME
    kernels = set((package / "inference" / "fused").glob("*.py"))  # see the next test
    modules = set().union(*(needed_modules(path) for path in set(package.rglob("*.py")) - kernels))
    modules |= set().union(*map(needed_modules, kernels)) - {"triton"}
    modules -= set(sys.stdlib_module_names) | {NAME, "compression"}  # that is Python 3.14's

    from_pip = {MODULE_OF.get(name, name.replace("-", "_")) for name in required(declared["install_requires"])}
    from_pip |= {"cv2"}  # also where it is the distribution's own
    from_ros = {element.text for element in package_xml.findall("exec_depend")}
    assert not modules - from_pip - from_ros

    # On a machine without ROS the wheels must bring the same; these come with rclpy's.
    wheels = {name.removeprefix(ROS_WHEELS).replace("-", "_") for name in required(declared["extras_require"]["ros"])}
    with_rclpy = {"lifecycle_msgs", "rcl_interfaces"}
    assert not (modules & from_ros) - wheels - with_rclpy


def test_triton_is_needed_by_the_fused_kernels_alone() -> None:
    """PyTorch for NVIDIA GPUs brings it along; where there is none, all else must import."""
    blocked = "import sys; sys.modules['triton'] = None\n"
    imports = "from densehybrid_ros.inference import backends, engine_rows, fused, segmenter"
    subprocess.run([sys.executable, "-c", blocked + imports], check=True, cwd=REPOSITORY)
    kernels = subprocess.run(
        [sys.executable, "-c", blocked + "import densehybrid_ros.inference.fused.networks"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "triton" in kernels.stderr


def test_make_without_a_usable_python_says_so(tmp_path: Path) -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for name in ("Makefile", "requirements", "setup.py", "package.xml", "pyproject.toml"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    command = ["make", "demo", "PYTHON=no-such-python"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert result.stderr.splitlines()[0] == (
        "no Python 3.10 to 3.13 among: no-such-python; install one, or name it with PYTHON=/path/to/python"
    )
    assert not (tmp_path / ".venv").exists()


def colcon(verb: str, *arguments: str, log: Path) -> str:
    """Runs colcon under this interpreter and returns what it printed."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("AMENT_", "COLCON_"))}
    result = subprocess.run(
        [sys.executable, "-m", "colcon", "--log-base", str(log), verb, "--base-paths", str(REPOSITORY), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module", params=["copied", "symlinked"])
def workspace(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the package built and installed by colcon."""
    folder = tmp_path_factory.mktemp(f"workspace_{request.param}")
    bases = ["--build-base", str(folder / "build"), "--install-base", str(folder / "install")]
    options = ["--symlink-install"] if request.param == "symlinked" else []
    colcon("build", *bases, *options, log=folder / "log")
    return folder


def in_workspace(workspace: Path, command: list[str]) -> str:
    """Runs a command from elsewhere, as after ``. install/local_setup.sh``, and returns its standard output."""
    script = f". {shlex.quote(str(workspace / 'install' / 'local_setup.sh'))} && exec {shlex.join(command)}"
    result = subprocess.run(["sh", "-c", script], cwd=workspace, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def source_files(folder: str, *patterns: str) -> set[str]:
    found = [path for pattern in patterns for path in (REPOSITORY / folder).rglob(pattern)]
    return {str(path.relative_to(REPOSITORY)) for path in found}


@needs_colcon
def test_colcon_sees_an_ament_python_package(tmp_path: Path) -> None:
    (line,) = colcon("list", log=tmp_path).splitlines()
    assert line.split("\t") == [NAME, str(REPOSITORY), "(ros.ament_python)"]


@needs_colcon
def test_installed_layout(workspace: Path) -> None:
    prefix = workspace / "install" / NAME
    assert (prefix / "share/ament_index/resource_index/packages" / NAME).is_file()
    share = prefix / "share" / NAME
    wanted = {"package.xml"}
    wanted |= source_files("launch", "*.launch.py")
    wanted |= source_files("config", "*.yaml", "*.xml", "*.rviz", "*.json")
    wanted |= source_files("models", "*.safetensors", "*.yaml")
    assert {"launch/perception.launch.py", "config/perception.param.yaml", "config/fastdds_profile.xml"} <= wanted
    missing = {name for name in wanted if not (share / name).is_file()}
    assert not missing
    for name in ("perception_node", "densehybrid"):
        script = prefix / "lib" / NAME / name
        assert os.access(script, os.X_OK)
        interpreter = script.read_text(encoding="utf-8").splitlines()[0].removeprefix("#!")
        assert interpreter == os.path.normpath(sys.executable), "colcon's Python, which has torch, runs the scripts"


@needs_colcon
def test_installed_command_runs(workspace: Path) -> None:
    command = workspace / "install" / NAME / "lib" / NAME / "densehybrid"
    assert "demo" in in_workspace(workspace, [str(command), "--help"])
    assert in_workspace(workspace, [str(command), "--version"]).split() == [NAME, densehybrid_ros.__version__]


@needs_colcon
def test_the_package_is_installed_whole(workspace: Path) -> None:
    code = "import densehybrid_ros; print(densehybrid_ros.__path__[0])"
    installed = Path(in_workspace(workspace, [sys.executable, "-c", code]).strip())
    source = REPOSITORY / NAME
    names = {path.relative_to(source) for path in source.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    missing = {str(name) for name in names if not (installed / name).is_file()}
    assert not missing


@needs_colcon
def test_installed_package_finds_its_files(workspace: Path) -> None:
    names = ["launch/perception.launch.py", "config/fastdds_profile.xml", *sorted(source_files("models", "*.yaml"))]
    code = (
        "from densehybrid_ros import resources; print(resources.__file__);"
        f"[print(resources.resource_path(name)) for name in {names}]"
    )
    module, *files = in_workspace(workspace, [sys.executable, "-c", code]).splitlines()
    assert Path(module).is_relative_to(workspace)
    place = REPOSITORY if Path(module).resolve().is_relative_to(REPOSITORY) else workspace
    assert all(Path(file).is_relative_to(place) for file in files)


@needs_colcon
def test_ament_index_knows_the_package(workspace: Path) -> None:
    if importlib.util.find_spec("ament_index_python") is None:
        pytest.skip("ament_index_python is not installed")
    code = f"from ament_index_python import get_package_share_directory as share; print(share({NAME!r}))"
    assert in_workspace(workspace, [sys.executable, "-c", code]).strip() == str(
        workspace / "install" / NAME / "share" / NAME
    )


@needs_colcon
@pytest.mark.parametrize("workspace", ["copied"], indirect=True)
def test_colcon_test_finds_the_tests(workspace: Path) -> None:
    # It runs no test at all, and says nothing, when it does not find pytest among the extras of setup.py.
    bases = ["--build-base", str(workspace / "build"), "--install-base", str(workspace / "install")]
    colcon("test", *bases, "--pytest-args", "-k", "registry_host", log=workspace / "log")
    cases = xml.etree.ElementTree.parse(workspace / "build" / NAME / "pytest.xml").getroot().iter("testcase")
    assert "test_no_file_names_a_registry_host_or_a_path_of_one_machine" in {case.get("name") for case in cases}
