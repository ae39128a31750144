# SPDX-License-Identifier: Apache-2.0
"""Every benchmark says what it does, without ROS."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    "name", ["accuracy", "curves", "faults", "hazards", "memory", "messages", "runtimes", "training"]
)
def test_help_has_an_example(benchmark, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        benchmark(name, "--help")
    assert f"tools/benchmarks/{name}.py" in capsys.readouterr().out
