"""The one exception a user is meant to see."""

from __future__ import annotations


class InputError(Exception):
    """Bad input or a wrong option: one line saying what was given, expected and how to mend it.

    The command line prints the message and exits with code 2. What cannot be printed, as a file's
    name or content may hold to play on a terminal, is shown as '?', and so it stays one line.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


def printable(text: str) -> str:
    """Text for one line of a terminal: what cannot be printed becomes '?', space a space."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)
