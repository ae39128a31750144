# SPDX-License-Identifier: Apache-2.0
"""``python -m densehybrid_ros COMMAND``."""

import sys

from densehybrid_ros.cli.main import main

sys.exit(main())
