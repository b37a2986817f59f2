"""Messages outlive their reader: ``roadstack replay drive.mp4 2>&1 | head`` replays to the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Any, TextIO


class _Outlasting:
    """A text stream; what it is given once its reader has gone is dropped without an error."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def _tried(self, write: Callable[..., Any], *args: Any) -> Any:
        try:
            return write(*args)
        except BrokenPipeError:  # all else that writes there, libraries too, is spared the error
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            return write(*args)

    def write(self, text: str) -> int:
        return int(self._tried(self._stream.write, text))

    def flush(self) -> None:
        self._tried(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def outlasting_readers() -> Iterator[None]:
    """Within, standard output and error lose what nobody reads any more, and nothing else."""
    before = sys.stdout, sys.stderr
    if sys.stdout is not None:
        if isinstance(sys.stdout, TextIOWrapper):  # a name that it cannot spell is no error either
            sys.stdout.reconfigure(errors="backslashreplace")
        sys.stdout = _Outlasting(sys.stdout)  # type: ignore[assignment]
    if sys.stderr is not None:
        sys.stderr = _Outlasting(sys.stderr)  # type: ignore[assignment]
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                if stream is not None:
                    stream.flush()
        sys.stdout, sys.stderr = before
