"""MCAP files (mcap.dev), read with the package ``mcap``."""

from __future__ import annotations

import heapq
import io
import itertools
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from data.errors import InputError
from data.logs.bags.store import MAX_CHUNK_BYTES, Damaged, Message, Topic, plain_type, unpack
from data.logs.extras import need
from data.logs.source import shown

_MAGIC = b"\x89MCAP0\r\n"
_FOREIGN = (struct.error, ValueError, KeyError, TypeError, MemoryError, OverflowError, EOFError)


class McapStore:
    """An MCAP file, in order of log time; one without a usable index is read through as it lies.

    Raises:
        InputError: not MCAP, or the package is missing.
    """

    def __init__(self, path: Path, packing: str = "") -> None:
        need("mcap.reader", "MCAP files")
        self._path, self._packing = path, packing
        self.faults: list[str] = []
        self._channels: dict[int, Topic] = {}
        self._chunks: list[Any] | None = None
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise InputError(f"{shown(path)}: not an MCAP file")
            counts = self._read_summary(file)
            if counts is None:
                self.faults.append("the file has no index that can be used: read through")
                counts = self._count(file)
        self.topics: dict[str, Topic] = {}
        for number, topic in self._channels.items():
            known = self.topics.get(topic.name)
            count = counts[number] + (known.count if known else 0)
            self.topics[topic.name] = Topic(topic.name, topic.type, topic.encoding, count)

    def messages(self, names: frozenset[str]) -> Iterator[Message]:
        with self._path.open("rb") as file:
            for message in self._stream(file, names):
                topic = self._channels.get(message.channel_id)
                if topic is not None and topic.name in names:
                    data = unpack(message.data, self._packing)
                    yield Message(topic.name, message.log_time, data)

    def _read_summary(self, file: BinaryIO) -> Counter[int] | None:
        """Channels, chunks and counts by the file's own index; None where it has none."""
        from mcap.exceptions import McapError
        from mcap.reader import make_reader

        try:
            file.seek(0)
            summary = make_reader(file).get_summary()
        except (McapError, OSError, *_FOREIGN):
            return None
        if summary is None or summary.statistics is None or not summary.channels:
            return None
        self._chunks = sorted(
            summary.chunk_indexes, key=lambda c: (c.message_start_time, c.chunk_start_offset)
        )
        if not self._chunks and summary.statistics.message_count:
            self._chunks = None  # messages outside of chunks
        schemas = summary.schemas
        for channel in summary.channels.values():
            self._add_channel(channel, schemas)
        return Counter(summary.statistics.channel_message_counts)

    def _add_channel(self, channel: Any, schemas: dict[int, Any]) -> None:
        schema = schemas.get(channel.schema_id)
        kind = plain_type(schema.name) if schema else ""
        topic = Topic(channel.topic, kind, channel.message_encoding, 0)
        self._channels[channel.id] = topic

    def _count(self, file: BinaryIO) -> Counter[int]:
        counts: Counter[int] = Counter()
        try:
            for message in self._stream(file, None):
                counts[message.channel_id] += 1
        except Damaged:
            pass  # noted when the messages are read
        return counts

    def _stream(self, file: BinaryIO, names: frozenset[str] | None) -> Iterator[Any]:
        from mcap.exceptions import EndOfFile, McapError

        wanted = {n for n, t in self._channels.items() if names is None or t.name in names}
        try:
            if self._chunks is None:
                yield from self._scanned(file)
            else:
                yield from self._indexed(file, wanted)
        except EndOfFile as e:
            raise Damaged("cut short") from e
        except (McapError, *_FOREIGN) as e:
            raise Damaged(f"damaged ({type(e).__name__})") from e

    def _indexed(self, file: BinaryIO, wanted: set[int]) -> Iterator[Any]:
        """Messages of the chunks that the index says hold a wanted channel, in order of log time:
        chunks may overlap in time, so messages wait while one to come may be earlier."""
        waiting: list[tuple[int, int, Any]] = []
        number, held_bytes = itertools.count(), 0
        for index in self._chunks or ():
            held = index.message_index_offsets
            if held and not wanted & set(held):
                continue
            while waiting and (
                waiting[0][0] < index.message_start_time or held_bytes > MAX_CHUNK_BYTES
            ):
                message = heapq.heappop(waiting)[2]
                held_bytes -= len(message.data)
                yield message
            try:
                for message in self._chunk(file, index):
                    if message.channel_id in wanted:
                        heapq.heappush(waiting, (message.log_time, next(number), message))
                        held_bytes += len(message.data)
            except Exception:  # what was read before the damage is sound
                yield from (message for _, _, message in sorted(waiting))
                raise
        yield from (message for _, _, message in sorted(waiting))

    def _chunk(self, file: BinaryIO, index: Any) -> Iterator[Any]:
        from mcap.data_stream import ReadDataStream
        from mcap.records import Chunk

        if index.chunk_start_offset + index.chunk_length > file.seek(0, io.SEEK_END):
            raise Damaged("cut short")
        file.seek(index.chunk_start_offset + 9)  # past the record's kind and length
        # through a buffer of its own, so that no length within can ask for more than is there
        record = io.BytesIO(file.read(index.chunk_length - 9))
        yield from self._inner(Chunk.read(ReadDataStream(record)))

    def _scanned(self, file: BinaryIO) -> Iterator[Any]:
        from mcap.records import Channel, Chunk, Message, Schema
        from mcap.stream_reader import StreamReader

        schemas: dict[int, Any] = {}
        limit = min(file.seek(0, io.SEEK_END), 2 * MAX_CHUNK_BYTES)
        file.seek(0)
        reader = StreamReader(file, emit_chunks=True, record_size_limit=limit)
        for record in reader.records:
            if isinstance(record, Chunk):
                yield from self._inner(record, schemas)
            elif isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, Channel):
                self._add_channel(record, schemas)
            elif isinstance(record, Message):
                yield record

    def _inner(self, chunk: Any, schemas: dict[int, Any] | None = None) -> Iterator[Any]:
        from mcap.records import Channel, Message, Schema
        from mcap.stream_reader import breakup_chunk

        chunk.data, chunk.compression = unpack(chunk.data, chunk.compression), ""
        for record in breakup_chunk(chunk):
            if isinstance(record, Message):
                yield record
            elif schemas is not None and isinstance(record, Schema):
                schemas[record.id] = record
            elif schemas is not None and isinstance(record, Channel):
                self._add_channel(record, schemas)
