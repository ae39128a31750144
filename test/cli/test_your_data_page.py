# SPDX-License-Identifier: Apache-2.0
"""Every command of docs/your-data.md runs as written, on small frames of the classes that the page shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from own_frames import own_label, write_frame, write_own_frames

from densehybrid_ros.cli.main import main
from densehybrid_ros.networks import read_card

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "your-data.md").read_text(encoding="utf-8")
SMALL = {"steps": 2, "batch_size": 2, "warmup_steps": 1, "crops": {"height": 64, "width": 64}, "workers": 0}


def commands(page: str) -> list[list[str]]:
    """The words of every command of the page, in order."""
    blocks = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def test_every_command_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    classes, mine = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    write_own_frames(tmp_path, count=2)
    Path("frames/classes.yaml").write_text(classes)
    for number in range(2):
        write_frame(Path(f"drive/{number}.png"), Path(f"labels/{number}.png"), own_label(), number)
    Path("my.yaml").write_text(yaml.safe_dump(yaml.safe_load(mine) | SMALL))
    launched = []
    for program, *words in commands(PAGE):
        if program == "densehybrid":
            assert main(words) == 0, f"{words}: {capsys.readouterr().err}"
        else:
            launched.append([program, *words])
    out = capsys.readouterr().out
    assert "track" in out
    assert "hybrid" in out
    assert sorted(path.name for path in Path("overlays").rglob("*.*")) != []

    card = read_card(Path("runs/mine.yaml"))
    assert [(item.name, item.drivable) for item in card.classes] == [
        ("track", True),
        ("vegetation", False),
        ("sky", False),
    ]
    assert card.default_threshold == "inlier_q95"
    assert len(Path("runs/mine.yaml").read_text().splitlines()) <= 200

    ((*ros, file, first, second, third, fourth),) = launched
    assert ros == ["ros2", "launch", "densehybrid_ros"]
    text = (REPOSITORY / "launch" / file).read_text()
    for word in (first, second, third, fourth):
        assert f'"{word.partition(":=")[0]}"' in text


def test_the_recipe_takes_what_the_page_calls_yours(tmp_path: Path, capsys) -> None:
    (tmp_path / "my.yaml").write_text(re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[1])
    assert main(["config", "show", "--data", str(tmp_path / "my.yaml")]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["architecture"], shown["stage"], shown["negatives"]["source"]) == ("light", "open_set", "void")
    assert shown["data"]["sets"] == {"folder": str(tmp_path / "frames")}
