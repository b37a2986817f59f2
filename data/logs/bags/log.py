"""A camera's topic of a bag as a log."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from data.camera import Camera
from data.errors import InputError
from data.logs.bags.calibration import camera_of
from data.logs.bags.messages import (
    Picture,
    decode,
    holds_calibrations,
    holds_motions,
    holds_pictures,
)
from data.logs.bags.pixels import PictureDecoder
from data.logs.bags.store import BAG_SUFFIXES, Damaged, Store, Topic
from data.logs.bags.wire import Malformed
from data.logs.selection import NS_PER_S, Picked, Selection, add_fault
from data.logs.source import shown
from data.types import EgoMotion, Frame

_RECTIFIED = re.compile(r"[/_]rect(ified)?(_[^/]*)?(/[^/]*)?$")  # of a topic: image_rect_color
_HEAD = 30  # pictures looked at on opening, for rate and times
_MAX_HEAD = 300  # and for one that can be decoded
_MAX_CALIBRATIONS = 20
_STALE_NS = NS_PER_S // 2  # own motion that is older counts as unknown


@dataclass(frozen=True)
class _Stamped:
    """A picture's message: its number in its topic, time since the first, and its own content."""

    index: int
    t_ns: int
    picture: Picture | None
    ego: EgoMotion | None


class BagLog:
    """The pictures of one topic, in the order they were recorded; see ``Log``.

    Without ``topic`` it is the one with most messages; ``notes`` says which others there are.
    Times are the messages' own stamps, or, where those are missing or do not increase, when they
    were recorded. ``Frame.camera`` comes from the camera's calibration topic: its lens, mounted as
    an assumed camera is (``Camera.angle_std_rad`` tells that the angles are not known).
    ``Frame.ego`` is the newest odometry or twist before the picture, of no more than half a second.

    Raises:
        InputError: not a bag, no topic with pictures, not the one asked for, none of its pictures
            can be decoded, or a package is missing.
    """

    kind = "bag"

    def __init__(self, path: Path, selection: Selection, topic: str | None = None) -> None:
        self._path, self._selection = path, selection
        self._store = store = open_store(path)
        self._topic, others = _choose(path, store, topic)
        self.name = f"{path.name or path.resolve().name} {self._topic.name}"
        self.notes: tuple[str, ...] = ()
        if others:
            listed = ", ".join(f"{t.name} ({t.count})" for t in others)
            chosen = f"{self._topic.name} ({self._topic.count} pictures)"
            self.notes = (f"taken: {chosen}; other topics with pictures: {listed}",)
        self._open_faults = list(store.faults)
        self._motions = _motion_topic(store)
        self._read_head()
        self._camera = self._find_camera()
        total = self._topic.count
        self.expected_frames: int | None = None
        if self.nominal_fps > 0:
            rate = Fraction(self.nominal_fps)
            self.expected_frames = selection.expected(total, rate)
        self.faults: list[str] = list(self._open_faults)

    def _read_head(self) -> None:
        """Size, rate and kind of times, from the first pictures."""
        stamps: list[int] = []
        logged: list[int] = []
        decoder, why, size = PictureDecoder(), "", None
        try:
            for message in self._store.messages(frozenset((self._topic.name,))):
                picture = self._decoded(message.data)
                logged.append(message.log_ns)
                if picture is None:
                    why = "is malformed"
                else:
                    stamps.append(picture.stamp_ns)
                    if size is None:
                        image, why = decoder(picture)
                        size = None if image is None else image.shape
                if len(logged) >= (_MAX_HEAD if size is None else _HEAD):
                    break
        except Damaged as e:
            why = why or str(e)
        if size is None:
            found = f"none of its first {len(logged)} pictures" if logged else "it has no picture"
            raise InputError(
                f"{shown(self._path)}: topic {self._topic.name}: {found}"
                + (f" can be decoded, the last {why}" if logged else f" ({why})" if why else "")
            )
        self.height_px, self.width_px = size[:2]
        own = len(stamps) == len(logged) and stamps[0] > 0 and _increasing(stamps)
        self._by_stamp = own
        self.time_source = (
            "header stamps" if own else "log times: the headers have no usable stamps"
        )
        times = stamps if own else logged
        self._first_ns, span_ns = times[0], max(times) - times[0]
        self.nominal_fps = (len(times) - 1) * NS_PER_S / span_ns if span_ns > 0 else 0.0

    def _find_camera(self) -> Camera | None:
        topic = _calibration_topic(self._store, self._topic.name)
        if topic is None:
            return None
        messages = self._store.messages(frozenset((topic.name,)))
        why = "it holds none"
        try:
            for message in itertools.islice(messages, _MAX_CALIBRATIONS):
                calibration = decode(topic, message.data)
                rectified = _RECTIFIED.search(self._topic.name) is not None
                size = self.width_px, self.height_px
                return camera_of(calibration, size, rectified, topic.name)
        except (Damaged, Malformed, InputError) as e:
            why = str(e)
        self._open_faults.append(f"calibration of {topic.name} not used: {why}")
        return None

    def _decoded(self, data: bytes) -> Picture | None:
        try:
            found = decode(self._topic, data)
        except Malformed:
            return None
        return found if isinstance(found, Picture) else None

    def __iter__(self) -> Iterator[Frame]:
        self.faults[:] = self._open_faults
        picked, decoder = Picked(self._selection), PictureDecoder()
        for item in self._stamped():
            wanted = picked.wants(item.index, item.t_ns)
            if wanted is None:
                return
            frame = self._frame(item, decoder, wanted)
            if frame is not None:
                yield frame
                if picked.took():
                    return
        picked.check_started(shown(self._path), "the last picture")

    def _frame(self, item: _Stamped, decoder: PictureDecoder, wanted: bool) -> Frame | None:
        """The picture of a message if it is wanted and can be decoded; faults are noted."""
        picture = item.picture
        if picture is not None and not wanted:
            if picture.kind == "video":
                decoder(picture)  # later frames refer to it
            return None
        image, why = decoder(picture) if picture is not None else (None, "is malformed")
        if image is None:
            if wanted:
                add_fault(self.faults, f"frame {item.index} {why}: skipped")
            return None
        if image.shape[:2] != (self.height_px, self.width_px):
            size = f"{image.shape[1]}x{image.shape[0]}"
            wants = f"{self.width_px}x{self.height_px}"
            add_fault(self.faults, f"frame {item.index} is {size}, not {wants}")
            return Frame(image, item.index, item.t_ns, None, item.ego)
        return Frame(image, item.index, item.t_ns, self._camera, item.ego)

    def _stamped(self) -> Iterator[_Stamped]:
        """All pictures' messages with times that increase, noting where the bag ends early."""
        motions = self._motions
        names = frozenset(t.name for t in (self._topic, motions) if t)
        index, last_ns, shift_ns = 0, -1, 0
        newest: tuple[int, EgoMotion] | None = None
        step_ns = round(NS_PER_S / self.nominal_fps) if self.nominal_fps > 0 else NS_PER_S // 10
        try:
            for message in self._store.messages(names):
                if motions is not None and message.topic == motions.name:
                    ego = _motion(motions, message.data)
                    newest = (message.log_ns, ego) if ego else newest
                    continue
                picture = self._decoded(message.data)
                t_ns = last_ns + step_ns
                if not self._by_stamp:
                    t_ns = message.log_ns - self._first_ns + shift_ns
                elif picture is not None:
                    t_ns = picture.stamp_ns - self._first_ns + shift_ns
                if t_ns <= last_ns:
                    shift_ns += last_ns + step_ns - t_ns
                    t_ns = last_ns + step_ns
                    fault = "goes back in time: it and all later ones are shifted"
                    add_fault(self.faults, f"frame {index} {fault}")
                fresh = newest and abs(message.log_ns - newest[0]) <= _STALE_NS
                yield _Stamped(index, t_ns, picture, newest[1] if newest and fresh else None)
                index, last_ns = index + 1, t_ns
        except Damaged as e:
            add_fault(self.faults, f"the bag ends early: {e}; {index} pictures read")


def open_store(path: Path) -> Store:
    """Open a bag of any kind.

    Raises:
        InputError: as for ``BagLog``.
    """
    from data.logs.bags.mcaps import McapStore
    from data.logs.bags.ros1 import Ros1Store
    from data.logs.bags.ros2 import SqliteStore, open_folder

    if path.is_dir():
        return open_folder(path)
    kinds = {".mcap": McapStore, ".bag": Ros1Store, ".db3": SqliteStore}
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise InputError(f"{shown(path)}: expected {', '.join(sorted(BAG_SUFFIXES))}")
    return kind(path)


def _choose(path: Path, store: Store, wanted: str | None) -> tuple[Topic, list[Topic]]:
    """The topic to read, and the others that hold pictures."""
    found = [t for t in store.topics.values() if holds_pictures(t)]
    found.sort(key=lambda t: (-t.count, t.name))
    listed = ", ".join(shown(t.name) for t in found[:12]) + (", ..." if found[12:] else "")
    if not found:
        kinds = sorted({shown(t.type) for t in store.topics.values()})
        held = ", ".join(kinds[:6]) or "nothing"
        damage = "".join(f"; {fault}" for fault in store.faults[:1])
        raise InputError(f"{shown(path)}: no topic with pictures; it holds {held:.200}{damage}")
    if wanted is not None:
        chosen = next((t for t in found if t.name == wanted), None)
        if chosen is None:
            raise InputError(
                f"--topic {shown(wanted)}: {shown(path)} has no pictures there; it has {listed}"
            )
        return chosen, [t for t in found if t is not chosen]
    if found[0].count == 0:
        raise InputError(f"{shown(path)}: no pictures: its topics {listed} are empty")
    return found[0], found[1:]


def _calibration_topic(store: Store, image: str) -> Topic | None:
    """The calibration topic in the same folder of names as the pictures, or in one above it."""
    found = sorted(
        (t for t in store.topics.values() if holds_calibrations(t) and t.count),
        key=lambda t: t.name,
    )
    parents = list(itertools.accumulate(image.split("/"), lambda a, b: f"{a}/{b}"))[:-1]
    for parent in reversed(parents):
        for topic in found:
            if parent and topic.name.rpartition("/")[0] == parent:
                return topic
    pictures = [t for t in store.topics.values() if holds_pictures(t)]
    return found[0] if len(found) == len(pictures) == 1 else None


def _motion_topic(store: Store) -> Topic | None:
    """The topic of own motion with most messages, odometry before a twist."""
    found = [t for t in store.topics.values() if holds_motions(t) and t.count]
    return min(found, key=lambda t: (t.type != "nav_msgs/Odometry", -t.count, t.name), default=None)


def _motion(topic: Topic, data: bytes) -> EgoMotion | None:
    try:
        found = decode(topic, data)
    except Malformed:
        return None
    return found if isinstance(found, EgoMotion) else None


def _increasing(values: Iterable[int]) -> bool:
    return all(a < b for a, b in itertools.pairwise(values))
