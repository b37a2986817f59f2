"""Pictures that show the same: a perceptual hash finds candidates, their thumbnails decide.

The hash is pHash (Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash
Functions"): the signs of 64 low frequencies of a 32x32 picture against their median. Limits come
from real road pictures and their copies. JPEG at quality 30, half size, another aspect,
brightness +30, contrast 1.3 or a crop by 2 % keep a distance of 8 at most and a correlation above
0.97; pictures of different drives came no nearer than 10 bits with 0.89. A mirrored, letterboxed
or much cropped copy is not found.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data.types import F32, I64, U8

THUMB_PX = 32
SAME_BITS, SAME_CORRELATION = 8, 0.97  # the same picture, whatever was done to it
NEAR_BITS, NEAR_CORRELATION = 12, 0.93  # the same place within a second or so
_FLAT = 2.0  # grey levels; below this spread there is nothing to compare
_ROWS, _COLUMNS = 128, 2048  # of a block of distances, kept within the processor's cache
_BATCH = 8192


@dataclass(frozen=True)
class Alike:
    """Two pictures that look the same, by their indices.

    Attributes:
        bits: differing bits of their hashes, of 64; correlation: of their thumbnails.
        same: the same picture; else only very much alike.
    """

    first: int
    second: int
    bits: int
    correlation: float
    same: bool


def thumbnail(grey: U8) -> U8:
    """(32, 32) uint8 by area of a grey picture (h, w) uint8."""
    small = cv2.resize(grey, (THUMB_PX, THUMB_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def perceptual_hash(thumb: U8) -> int:
    """64-bit pHash of a thumbnail (32, 32) uint8."""
    low = np.asarray(cv2.dct(thumb.astype(np.float32)))[1:9, 1:9].ravel()
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


def find_alike(thumbs: U8, group: I64) -> list[Alike]:
    """Pairs of pictures that look alike.

    Every picture that has a like one in some group is in a pair with one of that group; not every
    pair is returned, so that a drive of n standing pictures gives about n pairs and not n * n.
    Between groups pictures that are only near count too.

    Args:
        thumbs: (n, 32, 32) uint8; group: (n,) the split of each, from 0.

    All pairs of hashes are compared in blocks, about 1 ns a pair: exact, and 5 s for 100 000
    pictures where an index of bands would have to probe thousands of buckets at 12 bits.
    """
    hashes = np.array([perceptual_hash(t) for t in thumbs], np.uint64)
    finder = _Finder(thumbs, np.asarray(group, np.int64))
    for top in range(0, len(hashes), _ROWS):
        rows = hashes[top : top + _ROWS, None]
        for left in range(top, len(hashes), _COLUMNS):
            bits = np.bitwise_count(rows ^ hashes[None, left : left + _COLUMNS])
            near = bits <= NEAR_BITS
            if near.any():
                r, c = np.nonzero(near)
                finder.add(r + top, c + left, bits[r, c].astype(np.int64))
    return finder.finish()


class _Finder:
    """Checks candidate pairs by correlation and drops those that would say nothing new."""

    def __init__(self, thumbs: U8, group: I64) -> None:
        flat = thumbs.reshape(len(thumbs), -1)
        self.thumbs, self.group = flat, group
        self.usable = np.array([t.std() >= _FLAT for t in flat], bool)
        groups = int(group.max(initial=0)) + 1
        # picture i has a pair with group g already: 1 near, 2 the same
        self.known = np.zeros((len(flat), groups), np.uint8)
        self.pairs: list[Alike] = []
        self.waiting: list[tuple[I64, I64, I64]] = []
        self.count = 0

    def add(self, i: I64, j: I64, bits: I64) -> None:
        """Take candidates: indices and hash distances, (k,) each."""
        apart = self.group[i] != self.group[j]
        keep = (i < j) & self.usable[i] & self.usable[j] & (apart | (bits <= SAME_BITS))
        keep &= self._news(i, j, bits)
        if keep.any():
            self.waiting.append((i[keep], j[keep], bits[keep]))
            self.count += int(keep.sum())
            if self.count >= _BATCH:
                self._check()

    def finish(self) -> list[Alike]:
        self._check()
        return sorted(self.pairs, key=lambda p: (not p.same, -p.correlation, p.first, p.second))

    def _news(self, i: I64, j: I64, bits: I64) -> NDArray[np.bool_]:
        best = np.where(bits <= SAME_BITS, 2, 1)
        known = np.minimum(self.known[i, self.group[j]], self.known[j, self.group[i]])
        return np.asarray(known < best)

    def _check(self) -> None:
        if not self.waiting:
            return
        i, j, bits = (np.concatenate(part) for part in zip(*self.waiting))
        self.waiting, self.count = [], 0
        for at in range(0, len(i), _BATCH):
            part = slice(at, at + _BATCH)
            first, second, distance = i[part], j[part], bits[part]
            value = correlation(self.thumbs[first], self.thumbs[second])
            same = (distance <= SAME_BITS) & (value >= SAME_CORRELATION)
            apart = self.group[first] != self.group[second]
            for k in np.flatnonzero(same | (apart & (value >= NEAR_CORRELATION))):
                a, b, level = int(first[k]), int(second[k]), 1 + int(same[k])
                ga, gb = self.group[a], self.group[b]
                if min(self.known[a, gb], self.known[b, ga]) < level:
                    self.known[a, gb] = max(self.known[a, gb], level)
                    self.known[b, ga] = max(self.known[b, ga], level)
                    pair = Alike(a, b, int(distance[k]), float(value[k]), bool(same[k]))
                    self.pairs.append(pair)


def correlation(a: U8, b: U8) -> F32:
    """Normalised correlation of each row of ``a`` with that of ``b``, (k, m) -> (k,) float32."""
    x, y = a.astype(np.float32), b.astype(np.float32)
    x -= x.mean(axis=1, keepdims=True)
    y -= y.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    return np.asarray((x * y).sum(axis=1) / np.maximum(norm, 1e-6), np.float32)
