"""ROS 2 recordings: SQLite files, and folders with a ``metadata.yaml``."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from data.errors import InputError
from data.logs.bags.store import (
    MAX_CHUNK_BYTES,
    METADATA,
    ChainedStore,
    Damaged,
    Message,
    Store,
    Topic,
    plain_type,
    unpack,
)
from data.logs.images import natural_key
from data.logs.source import shown
from data.yaml_text import load_yaml

_MAX_METADATA_BYTES = 1 << 23
# the second where the database's own account of its damage is no text
_UNREADABLE = (sqlite3.Error, UnicodeDecodeError)


class SqliteStore:
    """A ``.db3`` file; ``packing`` is the compression of each message.

    Raises:
        InputError: not a database, or none of ROS 2.
    """

    def __init__(self, path: Path, packing: str = "") -> None:
        self._path, self._packing = path, packing
        self.faults: list[str] = []
        try:
            with closing(self._open()) as base:
                tables = {name for (name,) in base.execute(
                    "SELECT name FROM sqlite_master WHERE type = 'table'")}  # fmt: skip
                if not {"topics", "messages"} <= tables:
                    raise InputError(f"{shown(path)}: a database, but not of ROS 2's messages")
                rows = base.execute(
                    "SELECT id, name, type, serialization_format FROM topics ORDER BY id"
                ).fetchall()
                counts = dict(
                    base.execute("SELECT topic_id, COUNT(*) FROM messages GROUP BY topic_id")
                )
        except _UNREADABLE as e:
            raise InputError(f"{shown(path)}: not a ROS 2 bag that can be read ({e})") from e
        self._numbers = {n: str(name) for n, name, _, _ in rows if isinstance(n, int)}
        self.topics: dict[str, Topic] = {}
        for number, name, kind, encoding in rows:
            count = int(counts.get(number, 0))
            self.topics[str(name)] = Topic(str(name), plain_type(str(kind)), str(encoding), count)

    def _open(self) -> sqlite3.Connection:
        # immutable: nothing is written beside it, not even a journal
        address = self._path.resolve().as_uri() + "?mode=ro&immutable=1"
        base = sqlite3.connect(address, uri=True, check_same_thread=False)
        base.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_CHUNK_BYTES)
        base.execute("PRAGMA trusted_schema = OFF")
        return base

    def messages(self, names: frozenset[str]) -> Iterator[Message]:
        chosen = [n for n, name in self._numbers.items() if name in names]
        marks = ",".join("?" * len(chosen))
        query = f"SELECT topic_id, timestamp, data FROM messages WHERE topic_id IN ({marks})"
        try:
            with closing(self._open()) as base:
                for number, log_ns, data in base.execute(f"{query} ORDER BY rowid", chosen):
                    if not (isinstance(data, bytes) and isinstance(log_ns, int)):
                        raise Damaged("a row of the database is no message")
                    yield Message(self._numbers[number], log_ns, unpack(data, self._packing))
        except (*_UNREADABLE, OverflowError) as e:
            raise Damaged(f"the database is damaged ({e})") from e


def open_folder(folder: Path) -> Store:
    """The recording of a folder: the files that ``metadata.yaml`` names, without it all.

    Raises:
        InputError: the metadata cannot be used, names a file outside the folder or one that is
            not there, or a file packed as a whole.
    """
    from data.logs.bags.mcaps import McapStore

    names, packing = _named_files(folder)
    stores: list[Store] = []
    for file in names:
        if file.suffix == ".db3":
            stores.append(SqliteStore(file, packing))
        elif file.suffix == ".mcap":
            stores.append(McapStore(file, packing))
        else:
            raise InputError(
                f"{shown(folder)}: {shown(file.name)} is of no kind that is read; expected .db3 or "
                ".mcap" + ("; unpack it: zstd -d" if file.suffix == ".zstd" else "")
            )
    return stores[0] if len(stores) == 1 else ChainedStore(stores)


def _named_files(folder: Path) -> tuple[list[Path], str]:
    """The files of a recording in order, and how their messages are packed."""
    where = folder / METADATA
    if not where.is_file():
        files = [p for p in folder.iterdir() if p.suffix in (".db3", ".mcap") and p.is_file()]
        return sorted(files, key=lambda p: natural_key(p.name)), ""
    said = _read_metadata(where)
    given = said.get("relative_file_paths")
    if not (isinstance(given, list) and given and all(isinstance(n, str) for n in given)):
        raise InputError(f"{shown(where)}: no list relative_file_paths; expected ROS 2's metadata")
    files = []
    for name in given:
        parts = PurePosixPath(name)
        # early versions wrote the folder's own name ahead of the file's
        candidates = [folder / parts, folder / parts.name]
        root = folder.resolve()
        if parts.is_absolute() or ".." in parts.parts:
            raise InputError(f"{shown(where)}: names {shown(name)}, which is outside the folder")
        file = next((c for c in candidates if os.path.isfile(c)), None)  # or too long
        if file is None:
            raise InputError(f"{shown(where)}: names {shown(name)}, which is not in the folder")
        if not file.resolve().is_relative_to(root):
            raise InputError(f"{shown(where)}: names {shown(name)}, which is outside the folder")
        files.append(file)
    mode = str(said.get("compression_mode") or "").lower()
    return files, str(said.get("compression_format") or "") if mode == "message" else ""


def _read_metadata(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_METADATA_BYTES:
            raise InputError(f"{shown(path)}: larger than any metadata of ROS 2")
        loaded = load_yaml(path.read_text(encoding="utf-8"))
        said = loaded["rosbag2_bagfile_information"]
    except (yaml.YAMLError, ValueError, KeyError, TypeError, RecursionError) as e:
        raise InputError(f"{shown(path)}: not the metadata of a ROS 2 recording") from e
    if not isinstance(said, dict):
        raise InputError(f"{shown(path)}: not the metadata of a ROS 2 recording")
    return said
