# SPDX-License-Identifier: Apache-2.0
"""``tools/benchmarks/curves.py`` at a small size."""

from __future__ import annotations

import json
from pathlib import Path


def test_figures_and_agreement_with_scikit_learn(benchmark, tmp_path: Path, capsys) -> None:
    assert benchmark("curves", "--pixels", "2e6", "--reference", "--json", tmp_path / "r.json") == 0
    figures = json.loads((tmp_path / "r.json").read_text())
    assert figures["pixels"] == 2_000_000
    assert figures["largest_difference"] < 1e-9
    assert "times_faster" in capsys.readouterr().out
