"""The machine and the packages that something was measured with."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("numpy", "opencv-python-headless", "onnxruntime", "av", "scipy", "numba")


def hardware() -> str:
    """The processor's name and how many of them this process may use."""
    name = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(x.partition(":")[2].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        pass
    count = len(os.sched_getaffinity(0))
    return f"{name}, {count} processor{'s' if count > 1 else ''}"


def package_versions() -> dict[str, str]:
    """Versions of Roadstack, of Python and of what decodes, infers and computes."""
    from tools.cli import package_version

    found: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # e.g. opencv-python in place of the headless one
            found[name] = "unknown"
    return {"roadstack": package_version(), "python": platform.python_version(), **found}
