"""The one exception a user is meant to see."""

from __future__ import annotations


class InputError(Exception):
    """Bad input or a wrong option: one line saying what was given, expected and how to mend it.

    The command line prints the message and exits with code 2.
    """
