"""Memory given back on long runs, and kept in training. Pictures pass through many threads (each
opening of a video makes new ones), and glibc keeps a heap for each, full of holes: memory that
nothing uses, yet that grows for hours."""

from __future__ import annotations

import ctypes
import ctypes.util
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_ARENAS = 2
_KEPT_BYTES, _PAD_BYTES = 2**31 - 1, 2**28


@cache
def _libc() -> ctypes.CDLL | None:
    """The C library where it is glibc."""
    try:
        library = ctypes.CDLL(ctypes.util.find_library("c") or "libc.so.6")
        return library if hasattr(library, "malloc_trim") else None
    except OSError:
        return None


def few_heaps() -> None:
    """From now on the threads of this process share two heaps; nothing where it is not glibc."""
    library = _libc()
    if library is not None:
        library.mallopt(_M_ARENA_MAX, _ARENAS)


def keep() -> None:
    """From now on what is freed stays with this process; nothing where it is not glibc.

    A training step frees and takes hundreds of MB, which glibc would give back to the system, to
    be filled with zeros anew, page by page.
    """
    library = _libc()
    if library is not None:
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        library.mallopt(_M_TOP_PAD, _PAD_BYTES)


def give_back() -> None:
    """Return what is free to the system; takes some milliseconds."""
    library = _libc()
    if library is not None:
        library.malloc_trim(0)


@contextmanager
def settled() -> Iterator[None]:
    """Python's search for garbage passes over all that is there at the beginning: modules and
    kernels by the hundred thousand, in which it found nothing but took a tenth of a second."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
