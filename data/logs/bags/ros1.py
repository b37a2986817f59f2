"""ROS 1 bags, format 2.0 (wiki.ros.org/Bags/Format/2.0)."""

from __future__ import annotations

import io
import os
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from data.errors import InputError
from data.logs.bags.store import Damaged, Message, Topic, plain_type, unpack
from data.logs.source import shown

_MAGIC = b"#ROSBAG V2.0\n"
_MESSAGE, _BAG, _CHUNK, _CHUNK_INFO, _CONNECTION = 2, 3, 5, 6, 7
_MAX_HEADER_BYTES = 1 << 20  # which holds a message's definition

Fields = dict[str, bytes]


class Ros1Store:
    """A bag; one that was not closed or is cut short is read as far as it goes.

    Raises:
        InputError: not a ROS 1 bag, or an encrypted one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.faults: list[str] = []
        self._topics_of: dict[int, Topic] = {}  # by number of the connection
        self._held: dict[int, frozenset[int]] = {}  # connections, by a chunk's place
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise InputError(f"{shown(path)}: not a ROS 1 bag of format 2.0")
            try:
                counts = self._read_index(file)
            except (Damaged, KeyError, struct.error) as e:
                self.faults.append(f"the bag has no index that can be used: read through ({e})")
                counts = self._count(file)
        self.topics: dict[str, Topic] = {}
        for number, topic in self._topics_of.items():
            known = self.topics.get(topic.name)
            count = counts[number] + (known.count if known else 0)
            self.topics[topic.name] = Topic(topic.name, topic.type, topic.encoding, count)

    def messages(self, names: frozenset[str]) -> Iterator[Message]:
        with self._path.open("rb") as file:
            for number, log_ns, data in self._stream(file, names):
                topic = self._topics_of.get(number)
                if topic is not None and topic.name in names:
                    yield Message(topic.name, log_ns, data)

    def _read_index(self, file: BinaryIO) -> Counter[int]:
        """Connections and which chunk holds how many messages of each."""
        fields, size = _header(file)
        if fields.get("encryptor"):
            raise InputError(f"{shown(self._path)}: the bag is encrypted; decrypt it first")
        place = _u64(fields["index_pos"])
        if place == 0:
            raise Damaged("it was not closed")
        file.seek(place)
        counts: Counter[int] = Counter()
        chunks = _u32(fields["chunk_count"])
        while len(self._held) < chunks:
            fields, size = _header(file)
            data = _exactly(file, size)
            if fields["op"] == bytes([_CONNECTION]):
                self._add_connection(fields, data)
            elif fields["op"] == bytes([_CHUNK_INFO]):
                pairs = dict(struct.iter_unpack("<II", data))
                self._held[_u64(fields["chunk_pos"])] = frozenset(pairs)
                counts.update(pairs)
        return counts

    def _count(self, file: BinaryIO) -> Counter[int]:
        counts: Counter[int] = Counter()
        self._held.clear()
        file.seek(len(_MAGIC))
        try:
            for number, _, _ in self._stream(file, None):
                counts[number] += 1
        except Damaged:
            pass  # noted when the messages are read
        return counts

    def _stream(
        self, file: BinaryIO, names: frozenset[str] | None
    ) -> Iterator[tuple[int, int, bytes]]:
        """Connection, time and bytes of the messages of all chunks that may hold one of ``names``
        (None: of all)."""
        try:
            yield from self._records(file, names)
        except (KeyError, IndexError, struct.error) as e:
            raise Damaged("a record lacks a field") from e

    def _records(
        self, file: BinaryIO, names: frozenset[str] | None
    ) -> Iterator[tuple[int, int, bytes]]:
        wanted = {n for n, t in self._topics_of.items() if names is None or t.name in names}
        file.seek(len(_MAGIC))
        end = os.fstat(file.fileno()).st_size
        while (place := file.tell()) < end:
            fields, size = _header(file)
            op = fields["op"][0]
            if file.tell() + size > end:
                raise Damaged(f"cut short in the record at byte {place}")
            held = self._held.get(place)
            if op == _CHUNK and (held is None or held & wanted):
                how = fields.get("compression", b"none").decode("ascii", "replace")
                yield from self._inner(io.BytesIO(unpack(file.read(size), how)))
            elif op == _CONNECTION:
                self._add_connection(fields, file.read(size))
            elif op == _MESSAGE:
                yield _u32(fields["conn"]), _time(fields["time"]), file.read(size)
            else:
                file.seek(size, os.SEEK_CUR)

    def _inner(self, chunk: io.BytesIO) -> Iterator[tuple[int, int, bytes]]:
        end = chunk.getbuffer().nbytes
        while chunk.tell() < end:
            fields, size = _header(chunk)
            data = _exactly(chunk, size)
            op = fields["op"][0]
            if op == _CONNECTION:
                self._add_connection(fields, data)
            elif op == _MESSAGE:
                yield _u32(fields["conn"]), _time(fields["time"]), data

    def _add_connection(self, fields: Fields, data: bytes) -> None:
        inner = _fields(data)
        name = fields["topic"].decode("utf-8", "replace")
        kind = inner.get("type", b"").decode("utf-8", "replace")
        self._topics_of[_u32(fields["conn"])] = Topic(name, plain_type(kind), "ros1", 0)


def _header(file: BinaryIO) -> tuple[Fields, int]:
    """A record's fields, and how many bytes of data follow."""
    (size,) = struct.unpack("<I", _exactly(file, 4))
    if size > _MAX_HEADER_BYTES:
        raise Damaged("a record's header is longer than any")
    fields = _fields(_exactly(file, size))
    (size,) = struct.unpack("<I", _exactly(file, 4))
    return fields, size


def _fields(data: bytes) -> Fields:
    fields: Fields = {}
    at = 0
    while at < len(data):
        if at + 4 > len(data):
            raise Damaged("a record's header is damaged")
        (size,) = struct.unpack_from("<I", data, at)
        name, separator, value = data[at + 4 : at + 4 + size].partition(b"=")
        if not separator:
            raise Damaged("a record's header is damaged")
        fields[name.decode("ascii", "replace")] = value
        at += 4 + size
    return fields


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size) if size < 1 << 20 else _large(file, size)
    if len(data) < size:
        raise Damaged("cut short")
    return data


def _large(file: BinaryIO, size: int) -> bytes:
    """Read in steps, so that a size that the file does not have is not allocated."""
    parts = []
    while size > 0 and (part := file.read(min(size, 1 << 24))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _u32(data: bytes) -> int:
    return int(struct.unpack("<I", data)[0])


def _u64(data: bytes) -> int:
    value = int(struct.unpack("<Q", data)[0])
    if value >= 1 << 63:  # which no file reaches, and seeking fails on
        raise Damaged("it names a place beyond any file")
    return value


def _time(data: bytes) -> int:
    s, ns = struct.unpack("<II", data)
    return int(s) * 1_000_000_000 + int(ns)
