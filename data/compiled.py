"""Compiling the inner loops: ``numba.njit`` with its cache, also where none can be written."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from numba import njit

# C code never calls a kernel: without the entry for it there is less to compile
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """``njit(cache=True)``, and without the cache where none can be written.

    Numba refuses to decorate when neither the source's folder nor the user's cache folder can
    be written: read-only installs, containers. Kernels run beside other Python threads and divide
    as NumPy does.
    """
    try:
        kernel = njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:
        return njit(**_OPTIONS)(function)  # type: ignore[no-any-return]
    # Numba only watches the kernel's own module, but constants and helpers come from its neighbours
    index = getattr(getattr(kernel, "_cache", None), "_cache_file", None)
    if index is not None and hasattr(index, "_source_stamp"):
        index._source_stamp = _last_change(Path(function.__code__.co_filename).parent)
    return kernel  # type: ignore[no-any-return]


@lru_cache(maxsize=8)
def _last_change(folder: Path) -> tuple[float, int]:
    """When a module of a folder last changed, and their size together."""
    stats = [path.stat() for path in folder.glob("*.py")]
    return max((s.st_mtime for s in stats), default=0.0), sum(s.st_size for s in stats)


def is_cached(kernel: Callable[..., Any]) -> bool:
    """Whether a kernel was compiled before, as far as the files of numba's cache tell."""
    folder = _cache_folder(kernel)
    module = kernel.__module__.rpartition(".")[2]
    name = f"{module}.{kernel.__name__}-*.nbi"
    return folder is not None and any(Path(folder).glob(name))


def is_kept(kernel: Callable[..., Any]) -> bool:
    """Whether what is compiled is kept for other processes."""
    return _cache_folder(kernel) is not None


def _cache_folder(kernel: Callable[..., Any]) -> str | None:
    return getattr(getattr(kernel, "stats", None), "cache_path", None)


def run(kernel: Callable[..., Any], *args: Any) -> Any:
    """Call a kernel, also when its cache became unwritable (a full disk) after it was made.

    A kernel is ready before it is saved, so a call that failed to save succeeds when repeated;
    once for each of the kernels it calls. Kernels start their outputs afresh, so that a repeated
    call does no harm.
    """
    for _ in range(32):
        try:
            return kernel(*args)
        except OSError:
            continue
    return kernel(*args)
