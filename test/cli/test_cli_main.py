# SPDX-License-Identifier: Apache-2.0
"""The command line as a whole: help, wrong usage, bad input."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from densehybrid_ros.cli.commands import COMMANDS, GROUPS, build_parser
from densehybrid_ros.cli.main import main
from densehybrid_ros.cli.options import JsonOutput
from densehybrid_ros.files import file_digest


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_helps_with_an_example(command: str, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    output = capsys.readouterr().out
    assert "example" in output
    assert f"densehybrid {command}" in output


def test_help_lists_the_commands(capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"\n{group}:\n" in shown for group in GROUPS)
    assert all(f"\n  {command} " in shown for command in COMMANDS)
    assert shown.index("  demo ") < shown.index("  info ")


def test_completion_names_options_and_values_without_python(tmp_path: Path, capsys) -> None:
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "densehybrid"
    script.write_text(capsys.readouterr().out)
    (tmp_path / "drive.json").touch()

    def complete(*words: str) -> list[str]:
        typed = " ".join(f"'{word}'" for word in words)
        program = f"""source {script}; COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}
        $(complete -p densehybrid | grep -o '_shtab[a-z_]*') densehybrid '{words[-1]}' '{words[-2]}'
        printf '%s\\n' "${{COMPREPLY[@]}}\""""
        bash = ["bash", "-c", program]
        environment = {"PATH": "/usr/bin:/bin"}  # where this Python is not
        found = subprocess.run(bash, capture_output=True, text=True, cwd=tmp_path, env=environment, check=True)
        return sorted(found.stdout.split())

    assert complete("densehybrid", "eva") == ["evaluate"]
    assert complete("densehybrid", "evaluate", "--score") == ["--score-maps", "--scores"]
    assert complete("densehybrid", "evaluate", "--table", "") == ["1", "2", "3", "4", "5", "6"]
    assert complete("densehybrid", "info", "--json", "dri") == ["drive.json"]


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"benchmark", "completion", "config", "export", "predict"}))
def test_every_command_that_finds_figures_has_the_same_json_option(command: str) -> None:
    parser = build_parser([command])
    subparser = next(action for action in parser._actions if action.dest == "command").choices[command]
    (option,) = (action for action in subparser._actions if "--json" in action.option_strings)
    assert option.type is JsonOutput
    assert option.help == "write the figures as JSON; - prints them, and nothing else"


def test_info_says_the_same_on_screen_and_in_json(tmp_path: Path, capsys) -> None:
    assert main(["info", "--json", str(tmp_path / "info.json")]) == 0
    facts = json.loads((tmp_path / "info.json").read_text())
    output = capsys.readouterr().out
    for key, value in facts.items():
        assert key in output
        assert (value if isinstance(value, str) else value[0] if value else "none") in output


def test_info_checks_models(model_path: Path, tmp_path: Path, capsys) -> None:
    path, card = tmp_path / "toy.safetensors", tmp_path / "toy.yaml"
    shutil.copy(model_path, path)
    shutil.copy(model_path.with_suffix(".yaml"), card)
    whole = f"{path}: whole; light, 19 classes, sha256 {file_digest(path)}"
    with_digest = card.read_text()
    card.write_text(with_digest.replace(f"sha256: {file_digest(path)}\n", ""))
    assert main(["info", "--check", str(path)]) == 0
    assert capsys.readouterr().out.strip() == f"{path}: whole; light, 19 classes, no sha256 in its card"
    assert main(["info", "--check", str(path), "--add-digest"]) == 0
    assert capsys.readouterr().out.strip() == f"{whole}, added to its card"
    assert card.read_text() == with_digest
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)
    assert main(["info", "--check", "nonesuch", str(path)]) == 2
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("nonesuch: wrong; model 'nonesuch'")
    assert second.startswith(f"{path}: wrong; {path}: damaged")
    assert main(["info", "--add-digest"]) == 2


@pytest.mark.parametrize("delay", [0.05, 1.0])
def test_an_interrupt_is_one_line_and_status_130_at_any_moment(delay: float) -> None:
    program = "import sys; from densehybrid_ros.cli.main import main; print('up', flush=True); sys.exit(main())"
    command = [sys.executable, "-c", program, "benchmark", "engine"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1] in ("densehybrid: interrupted", "densehybrid benchmark: interrupted")
    assert "Traceback" not in errors
