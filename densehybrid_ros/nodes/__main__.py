"""``perception_node``: a signal ends it with status 0 from its first line on, while ROS and torch still load."""

from __future__ import annotations

import os
import signal
import sys


def main(arguments: list[str] | None = None) -> int:
    """Runs the node; returns its exit status, see ``densehybrid_ros.nodes.runner.run``."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # Nothing needs tidying yet, and an exception would come up inside somebody's import.
        signal.signal(number, lambda *_: os._exit(0))
    from densehybrid_ros.nodes.perception_node import main as run_node

    return run_node(arguments)


if __name__ == "__main__":
    sys.exit(main())
