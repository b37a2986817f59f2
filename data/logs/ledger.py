"""Which of a video's frames came, and which of those that its packets promised are missing."""

from __future__ import annotations

import heapq

from av.packet import Packet
from av.video.frame import VideoFrame


class Ledger:
    """Sets the frames that come, with display times, against the packets that were read.

    A key is (epoch, pts): a new epoch begins where decoding times go back, as in joined files.
    """

    def __init__(self) -> None:
        self._due: list[tuple[int, int]] = []  # a heap: keys whose frame has not come
        self._keys: dict[int, list[tuple[int, int]]] = {}  # by pts, in order of reading
        self._damaged: set[tuple[int, int]] = set()
        self._lost: set[tuple[int, int]] = set()
        self._missing = 0
        self._late = 0
        self._passed: tuple[int, int] | None = None  # the newest frame that came
        self._sound: tuple[int, int] | None = None  # the newest that was delivered
        self._started = False
        self._epoch = 0
        self._last_dts: int | None = None

    @property
    def outstanding(self) -> int:
        """Frames that have not come, once the first sound one has."""
        return len(self._due) if self._started else 0

    def expect(self, packet: Packet) -> None:
        """Enter a packet that was read, and with it the frame that it promises."""
        if packet.pts is None:
            return
        if packet.dts is not None:
            self._epoch += self._last_dts is not None and packet.dts < self._last_dts
            self._last_dts = packet.dts
        key = (self._epoch, packet.pts)
        if self._sound is not None and key < self._sound:
            self._late += 1
            self._lost.add(key)
        elif self._started and self._passed is not None and key < self._passed:
            self._missing += 1
            self._lost.add(key)
        else:
            heapq.heappush(self._due, key)
        self._keys.setdefault(packet.pts, []).append(key)
        if packet.is_corrupt:
            self._damaged.add(key)

    def accept(self, frame: VideoFrame, pts: int) -> bool:
        """Enter a decoded frame; whether it is sound and in time to be delivered."""
        keys = self._keys.pop(pts, [])
        fresh = [k for k in keys if k not in self._lost]
        self._lost.difference_update(keys)
        if not fresh:
            return not keys  # lost: it comes after frames that follow it
        if fresh[1:]:
            self._keys[pts] = fresh[1:]
        passed = []
        while self._due and self._due[0] <= fresh[0]:
            passed.append(heapq.heappop(self._due))
        self._passed = fresh[0]
        sound = not (frame.is_corrupt or fresh[0] in self._damaged)
        if self._started:
            lost = [k for k in passed if k != fresh[0]]
            self._lost.update(lost)
            self._missing += len(lost) + (not sound)
        self._started |= sound
        if sound:
            self._sound = fresh[0]
        return sound

    def take_late(self) -> int:
        """Packets read since this was last asked whose frames belong before the delivered one."""
        late, self._late = self._late, 0
        return late

    def take_missing(self) -> int:
        """Frames missing since this was last asked."""
        missing, self._missing = self._missing, 0
        return missing
