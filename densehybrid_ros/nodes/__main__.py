# SPDX-License-Identifier: Apache-2.0
"""``perception_node``: a signal ends it with status 0 from its first line on, while ROS and torch still load."""

from __future__ import annotations

import os
import signal
import sys

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main(arguments: list[str] | None = None) -> int:
    """Runs the node; returns its exit status, see ``densehybrid_ros.nodes.runner.run``."""
    for number in _SIGNALS:
        # Nothing needs tidying yet, and an exception would come up inside somebody's import.
        signal.signal(number, lambda *_: os._exit(0))
    from densehybrid_ros.nodes.perception_node import main as run_node

    status = run_node(arguments)
    for number in _SIGNALS:  # the interpreter takes its time to end, and would die of a second one
        signal.signal(number, signal.SIG_IGN)
    return status


if __name__ == "__main__":
    sys.exit(main())
