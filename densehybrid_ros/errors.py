"""The error that a user can mend."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input or wrong usage: one line that names the file or option and the mend.

    The command line prints it without a traceback and exits with status 2; a node counts it, reports it and
    lives on.
    """
