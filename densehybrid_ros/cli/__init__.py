# SPDX-License-Identifier: Apache-2.0
"""The densehybrid command, one module a subcommand."""
