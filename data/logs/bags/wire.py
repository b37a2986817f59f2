"""Bytes of messages as numbers: ROS 1 and CDR in their order, protobuf by field numbers.

The few messages that a log needs have fixed layouts, so that none of a bag's own definitions is
followed. CDR: OMG DDS-XTypes 1.3, 7.4; protobuf: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import struct

NS_PER_S = 1_000_000_000
_MAX_FIELDS = 10_000


class Malformed(ValueError):
    """The bytes are not the message that they should be."""


class Cursor:
    """Reads a ROS message from its beginning; ``cdr`` for ROS 2, packed as in ROS 1 without.

    Raises:
        Malformed: by all methods, where the message ends too early.
    """

    def __init__(self, data: bytes, cdr: bool) -> None:
        self._data = memoryview(data)
        self.cdr = cdr
        self._at = self._start = 0
        self._order, self._widest = "<", 8
        if cdr:
            if len(data) < 4 or data[0] != 0:
                raise Malformed("no CDR header")
            self._order = "<" if data[1] & 1 else ">"
            self._widest = 4 if data[1] >= 6 else 8  # of the second version
            self._at = self._start = 4

    def _numbers(self, kind: str, size: int, count: int) -> tuple[float, ...]:
        if self.cdr:
            step = min(size, self._widest)
            self._at += -(self._at - self._start) % step
        if not 0 <= count <= (len(self._data) - self._at) // size:
            raise Malformed("the message ends too early")
        found = struct.unpack_from(f"{self._order}{count}{kind}", self._data, self._at)
        self._at += size * count
        return found

    def u8(self) -> int:
        return int(self._numbers("B", 1, 1)[0])

    def u32(self) -> int:
        return int(self._numbers("I", 4, 1)[0])

    def doubles(self, count: int) -> tuple[float, ...]:
        return self._numbers("d", 8, count)

    def sequence(self) -> tuple[float, ...]:
        """A list of doubles of any length."""
        count = self.u32()
        return self.doubles(count) if count else ()

    def blob(self) -> memoryview:
        """A list of bytes; a view, nothing is copied."""
        size = self.u32()
        if size > len(self._data) - self._at:
            raise Malformed("the message ends too early")
        self._at += size
        return self._data[self._at - size : self._at]

    def text(self) -> str:
        return bytes(self.blob()).rstrip(b"\0").decode("utf-8", "replace")

    def header(self) -> int:
        """Skip std_msgs/Header; its stamp in ns."""
        if not self.cdr:
            self.u32()  # number in sequence
        stamp_ns = self.time()
        self.text()
        return stamp_ns

    def time(self) -> int:
        """Seconds and nanoseconds, in ns."""
        s, ns = self._numbers("I", 4, 2)
        return int(s) * NS_PER_S + int(ns)


def protobuf_fields(data: bytes | memoryview) -> dict[int, list[int | memoryview]]:
    """A protobuf message's fields by number: whole numbers, or the bytes of anything else.

    Raises:
        Malformed: not protobuf.
    """
    view = memoryview(data)
    found: dict[int, list[int | memoryview]] = {}
    at = 0
    for _ in range(_MAX_FIELDS):
        if at >= len(view):
            return found
        key, at = _varint(view, at)
        kind = key & 7
        value: int | memoryview
        if kind == 0:
            value, at = _varint(view, at)
        else:
            if kind == 2:
                size, at = _varint(view, at)
            elif kind in (1, 5):
                size = 8 if kind == 1 else 4
            else:
                raise Malformed("not a protobuf message")
            if size > len(view) - at:
                raise Malformed("the message ends too early")
            value = view[at : at + size]
            at += size
        found.setdefault(key >> 3, []).append(value)
    raise Malformed("more fields than any message that is read")


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            break
        byte = view[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise Malformed("the message ends too early")
