# SPDX-License-Identifier: Apache-2.0
"""Where inductor keeps what it compiles, and Triton under it: in a folder of this user alone."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

from densehybrid_ros.inference.artifact_cache import default_cache
from densehybrid_ros.inference.private_folder import make_private

_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def keep_compiled_apart() -> None:
    """Names the folder to PyTorch; to be called before anything is compiled.

    By default it is one in /tmp, named after the user, which another may have made first. Where others can write to the
    user's cache directory it is a temporary folder of this process. What the environment names stays.
    """
    if os.environ.get(_VARIABLE):
        return
    folder = default_cache() / "inductor"
    try:
        usable = not make_private(folder) and os.access(folder, os.W_OK)
    except OSError:
        usable = False
    if usable:
        os.environ[_VARIABLE] = str(folder)
    else:
        os.environ[_VARIABLE] = tempfile.mkdtemp(prefix="densehybrid_inductor_")
        atexit.register(shutil.rmtree, os.environ[_VARIABLE], ignore_errors=True)
