# SPDX-License-Identifier: Apache-2.0
"""Child processes that end with the one that started them, however that ends."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence


def ends_with_this_process(command: Sequence[str]) -> list[str]:
    """Returns ``command`` so that its process gets SIGTERM when the thread that starts it is gone, killed or not.

    The kernel sends it (``PR_SET_PDEATHSIG``), which util-linux's ``setpriv`` asks for; a machine without it runs the
    command as it is. The process id and the environment are those of the command.
    """
    if shutil.which("setpriv") is None:
        return list(command)
    # The parent may be gone before the kernel knows; then another one is the parent.
    still_a_child = '[ "$PPID" = "$0" ] || exit 1; exec "$@"'
    return ["setpriv", "--pdeathsig", "TERM", "sh", "-c", still_a_child, str(os.getpid()), *command]
