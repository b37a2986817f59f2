"""Packages that only some logs need."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from data.errors import InputError


def need(module: str, what: str, extra: str = "logs") -> ModuleType:
    """Import a package of an extra.

    Raises:
        InputError: it is not installed; names what needs it and the command that installs it.
    """
    try:
        return import_module(module)
    except ImportError as e:
        package = module.split(".")[0]
        raise InputError(
            f"{what} need the package '{package}'; install it: pip install 'roadstack[{extra}]'"
        ) from e
