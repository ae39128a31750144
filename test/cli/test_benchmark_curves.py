"""``densehybrid benchmark curves`` at a small size."""

from __future__ import annotations

import json
from pathlib import Path

from densehybrid_ros.cli.main import main


def test_figures_and_agreement_with_scikit_learn(tmp_path: Path, capsys) -> None:
    options = ["--pixels", "2e6", "--reference", "--json", str(tmp_path / "r.json")]
    assert main(["benchmark", "curves", *options]) == 0
    figures = json.loads((tmp_path / "r.json").read_text())
    assert figures["pixels"] == 2_000_000
    assert figures["exact"] is True
    assert figures["largest_difference"] < 1e-9
    assert "times_faster" in capsys.readouterr().out
