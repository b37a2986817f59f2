"""What the kinds of bags have in common, and which of them a path is.

The readers of the containers are our own where that is short: they follow no definition that a
bag brings along, read what is left of a bag whose index is lost, and bound what they allocate.
"""

from __future__ import annotations

import bz2
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

from data.logs.extras import need
from data.logs.images import is_image

MAX_CHUNK_BYTES = 1 << 29  # of one chunk or message, unpacked
BAG_SUFFIXES = frozenset((".mcap", ".bag", ".db3"))
METADATA = "metadata.yaml"


class Damaged(Exception):
    """A bag cannot be read from here on; the text says why."""


@dataclass(frozen=True)
class Topic:
    """A topic of a bag.

    Attributes:
        type: of its messages, ROS 2's 'msg/' left out: 'sensor_msgs/Image'.
        encoding: of their bytes: 'ros1', 'cdr', 'protobuf', 'json'.
        count: of its messages.
    """

    name: str
    type: str
    encoding: str
    count: int


class Message(NamedTuple):
    """The bytes of a message, and when it was recorded."""

    topic: str
    log_ns: int
    data: bytes


class Store(Protocol):
    """An opened bag.

    Attributes:
        topics: by name.
        faults: what was wrong with it on opening.
    """

    topics: dict[str, Topic]
    faults: list[str]

    def messages(self, names: frozenset[str]) -> Iterator[Message]:
        """The messages of some topics, from the beginning, in the order they were recorded.

        Raises:
            Damaged: the bag cannot be read further.
        """
        ...


class ChainedStore:
    """The files of a recording that was split, one after the other."""

    def __init__(self, stores: Iterable[Store]) -> None:
        self._stores = tuple(stores)
        self.faults = [fault for store in self._stores for fault in store.faults]
        self.topics: dict[str, Topic] = {}
        for topic in (t for store in self._stores for t in store.topics.values()):
            known = self.topics.get(topic.name)
            count = topic.count + (known.count if known else 0)
            self.topics[topic.name] = replace(known or topic, count=count)

    def messages(self, names: frozenset[str]) -> Iterator[Message]:
        for store in self._stores:
            yield from store.messages(names)


def is_bag(path: Path) -> bool:
    """Whether a path is a bag by its name, or a folder of one."""
    if not path.is_dir():
        return path.suffix.lower() in BAG_SUFFIXES
    if (path / METADATA).is_file():  # which other folders may have too
        with (path / METADATA).open("rb") as file:
            if b"rosbag2_bagfile_information" in file.read(1 << 12):
                return True
    inside = list(path.iterdir())
    held = any(p.suffix in (".db3", ".mcap") for p in inside)
    return held and not any(map(is_image, inside))


def plain_type(name: str) -> str:
    """'sensor_msgs/msg/Image' as 'sensor_msgs/Image'."""
    return name.replace("/msg/", "/")


def unpack(data: bytes, how: str) -> bytes:
    """Undo a compression ('zstd', 'lz4', 'bz2', '' or 'none'), up to ``MAX_CHUNK_BYTES``.

    Raises:
        Damaged: it cannot be undone, or yields more.
        InputError: its package is not installed.
    """
    if how in ("", "none"):
        return data
    limit = MAX_CHUNK_BYTES
    if how == "zstd":
        plain = _zstd(data, limit)
    elif how in ("lz4", "bz2"):
        if how == "lz4":
            packed = need("lz4.frame", "bags packed with lz4").LZ4FrameDecompressor()
        else:
            packed = bz2.BZ2Decompressor()
        try:
            plain = packed.decompress(data, max_length=limit + 1)
        except (OSError, RuntimeError, ValueError, EOFError, MemoryError) as e:
            raise Damaged(f"a chunk cannot be unpacked ({_reason(e)})") from e
    else:
        raise Damaged(f"packed by the unknown method '{how:.20}'")
    if len(plain) > limit:
        raise Damaged(f"a chunk unpacks to more than {limit >> 20} MiB")
    return plain


def _zstd(data: bytes, limit: int) -> bytes:
    """Undo zstd; bytes above ``limit`` stand for more than that."""
    zstd = need("zstandard", "bags packed with zstd")
    try:
        size = zstd.frame_content_size(data)  # -1 where the frame does not say
        if 0 <= size <= limit:
            return bytes(zstd.ZstdDecompressor().decompress(data))
        return bytes(zstd.ZstdDecompressor().stream_reader(data).read(limit + 1))
    except (zstd.ZstdError, MemoryError) as e:
        raise Damaged(f"a chunk cannot be unpacked ({_reason(e)})") from e


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:80]
