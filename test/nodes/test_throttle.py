"""One warning of a kind within some seconds."""

from __future__ import annotations

from densehybrid_ros.nodes.throttle import SECONDS_BETWEEN_WARNINGS, Throttle


def test_each_kind_passes_once_within_the_time() -> None:
    now, passed = [0.0], []
    warn = Throttle(passed.append, lambda: now[0])
    for tenths in range(12):
        now[0] = tenths * SECONDS_BETWEEN_WARNINGS / 10
        warn(f"the size changed from {tenths}x3 to 48x{tenths}")
        warn("no engine")
    first, second = "the size changed from 0x3 to 48x0", "the size changed from 10x3 to 48x10"
    assert passed == [first, "no engine", second, "no engine"]
