# SPDX-License-Identifier: Apache-2.0
"""What people see while a command works."""

from __future__ import annotations

import io
import sys

import pytest

from densehybrid_ros.progress import steps


class Terminal(io.StringIO):
    """A stream that calls itself a terminal."""

    def isatty(self) -> bool:
        """Says yes."""
        return True


def test_steps_are_plain_lines_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    with steps("compile") as report:
        report("one")
        report("two")
    assert capsys.readouterr().err == "compile: one\ncompile: two\n"


def test_steps_stand_in_one_line_with_their_time_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with steps("compile") as report:
        report("one")
    assert "compile: one [00:00]" in sys.stderr.getvalue()  # type: ignore[attr-defined]
