"""Configuration: nested frozen dataclasses read from TOML, with dotted overrides.

An unknown key is an error that names the nearest known one; values are checked against the
types of the dataclass's fields.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import sys
import tomllib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from data.errors import InputError

T = TypeVar("T")
_LONGEST = 1_000_000
_DEEP_KEY = re.compile(r"(?:[\w\"'-]+[ \t]*\.[ \t]*){50}")


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Read a TOML file; ``what`` it is stands in the message of an InputError."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        if len(text) > _LONGEST or _DEEP_KEY.search(text):  # the parser takes minutes for those
            raise ValueError(f"longer than {_LONGEST} characters, or a key of 50 parts")
        return tomllib.loads(text)
    except OSError as e:
        raise InputError(f"{what} {path}: cannot be read ({e.strerror})") from e
    except (ValueError, RecursionError) as e:  # of the parser, of text, of a number's length
        raise InputError(f"{what} {path}: not valid TOML ({e!s:.200})") from e


def load_config(cls: type[T], path: Path | None = None, overrides: tuple[str, ...] = ()) -> T:
    """Build ``cls`` from an optional TOML file and ``key.sub=value`` overrides.

    Raises:
        InputError: unreadable file, unknown key, or a value of the wrong type.
    """
    raw = {} if path is None else read_toml(path, "config")
    for text in overrides:
        key, sep, value = text.partition("=")
        if not sep or not key:
            raise InputError(f"override '{text}': expected key=value, e.g. optimizer.steps=1000")
        _set(raw, key.split("."), _parse(value))
    return build(cls, raw, str(path) if path else "config")


def _parse(value: str) -> Any:
    """Read an override's value as TOML; what is no TOML value is a plain string."""
    try:
        return tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        return value


def _set(raw: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        raw = raw.setdefault(key, {})
        if not isinstance(raw, dict):
            raise InputError(f"override: '{key}' is a value, not a table")
    raw[keys[-1]] = value


def build(cls: type[T], raw: Any, where: str) -> T:
    """Build a dataclass from a table; ``where`` names it in errors."""
    if not isinstance(raw, dict):
        raise InputError(f"{where}: expected a table, given {raw!r}")
    hints = typing.get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    values = {}
    for key, value in raw.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
            raise InputError(f"{where}: unknown key '{key}'; {hint}")
        values[key] = _cast(hints[key], value, f"{where}: {key}")
    try:
        return cls(**values)
    except TypeError as e:
        raise InputError(f"{where}: {e}") from e
    except ValueError as e:
        raise InputError(f"{where}: {e}") from e


def _cast(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), value, where)
    if origin is types.UnionType or origin is typing.Union:
        return _cast(next(a for a in args if a is not type(None)), value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise InputError(f"{where}: expected a list, given {value!r}")
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_cast(args[0], v, f"{where}[{i}]") for i, v in enumerate(value))
        if len(args) != len(value):
            raise InputError(f"{where}: expected {len(args)} values, given {len(value)}")
        return tuple(_cast(a, v, where) for a, v in zip(args, value, strict=True))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        if not abs(value) <= sys.float_info.max:
            raise InputError(f"{where}: expected a number, given one of {len(str(value))} digits")
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    wrong_bool = isinstance(value, bool) and hint is not bool
    if not isinstance(value, hint) or wrong_bool:
        raise InputError(f"{where}: expected {hint.__name__}, given {value!r}")
    return value
