# SPDX-License-Identifier: Apache-2.0
"""``tools/benchmarks/training.py`` at a tiny size: shares and rates that fit together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

TINY = ["--device", "cpu", "--crop", "64x64", "--batch", "2", "--frame", "128x96"]
SHORT = ["--steps", "1", "--rounds", "2", "--warm-up", "1"]


def test_figures_fit_together(benchmark, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options, kinds = ["--architecture", "light", "stage=open_set", "data.workers=1"], ["files", "memory"]
    assert benchmark("training", *TINY, *SHORT, *options, "--json", tmp_path / "r.json") == 0
    figures = json.loads((tmp_path / "r.json").read_text())
    assert figures["images_per_second_without_loading"] > 0
    assert [kind for kind in ("files", "memory") if kind in figures] == kinds
    for kind in kinds:
        assert 0 <= figures[kind]["share_waiting_for_data"] <= 1
        assert figures[kind]["images_per_second"] > 0
        assert ("decoded_frames_per_second" in figures[kind]) == (kind == "files")
    assert capsys.readouterr().out.count("the device waits for data") == len(kinds)
