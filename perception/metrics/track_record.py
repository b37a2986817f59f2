"""What evaluation keeps of every drive's tracks: sums from which all scores of any sample of the
drives follow.

``save`` and ``load`` keep it in ``tracks.npz``, an archive of plain arrays: ``drive`` (d,) and
``label_sha256`` (d,) text, ``name`` (c,) the classes, one array (c, d) or (c, d, 19) for each field
of ``TrackCounts``, and ``about``, JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from perception.metrics.bootstrap import MIN_DRIVES, Interval, Weights, draw_weights, interval
from perception.metrics.tracking import F64, TrackCounts

FORMAT = "roadstack-tracks-1"
FIGURES = ("HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "IDF1", "switches", "fragmentations")
COUNTED = ("switches", "fragmentations")  # numbers, of which fewer are better
COMBINED = "all"
_NAMES = tuple(f.name for f in fields(TrackCounts))
_MAX_BYTES = 1 << 28


@dataclass(frozen=True, eq=False)
class TrackRecord:
    """Counts of each class and drive.

    Attributes:
        counts: class -> drive -> counts, every class with the same drives.
        label_sha256: drive -> digest of its label file.
    """

    counts: Mapping[str, Mapping[str, TrackCounts]]
    label_sha256: Mapping[str, str]
    about: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.drives)

    @property
    def drives(self) -> list[str]:
        return list(next(iter(self.counts.values()), {}))

    @property
    def labelled(self) -> list[str]:
        """Names of the classes with labels."""
        total = {name: sum(own.values(), TrackCounts()) for name, own in self.counts.items()}
        return [name for name, c in total.items() if c.clear_tp + c.clear_fn]

    def drives_with(self, name: str) -> int:
        """In how many drives the class has labels; of ``COMBINED``, any class."""
        own = [name] if name in self.counts else self.labelled
        parts = zip(*(self.counts[n].values() for n in own))
        return sum(any(c.clear_tp + c.clear_fn for c in drive) for drive in parts)

    def totals(self) -> dict[str, TrackCounts]:
        """Class -> counts over all drives; ``COMBINED`` adds up the classes with labels."""
        out = {name: sum(own.values(), TrackCounts()) for name, own in self.counts.items()}
        return {**out, COMBINED: sum((out[name] for name in self.labelled), TrackCounts())}


def sampled(record: TrackRecord, weights: Weights) -> dict[str, F64]:
    """The ``FIGURES`` when drive d counts ``weights[b, d]`` times: ``tracking.CLASS.X`` -> (b,).

    Shares are NaN for draws without a label.
    """
    rows: dict[str, list[list[float]]] = {}
    parts = {name: _stacked(record.counts[name]) for name in record.labelled}
    for w in weights.astype(np.float64):
        drawn = {name: TrackCounts(**{k: w @ v for k, v in p.items()}) for name, p in parts.items()}
        drawn[COMBINED] = sum(drawn.values(), TrackCounts())
        for name, counts in drawn.items():
            scores = counts.scores()
            rows.setdefault(name, []).append([float(scores[k]) for k in FIGURES])
    tables = {name: np.array(r) for name, r in rows.items()}
    return {
        f"tracking.{name}.{k}": table[:, i]
        for name, table in tables.items()
        for i, k in enumerate(FIGURES)
    }


def _stacked(own: Mapping[str, TrackCounts]) -> dict[str, F64]:
    """Field -> (drives,) or (drives, 19)."""
    return {k: np.array([getattr(c, k) for c in own.values()], np.float64) for k in _NAMES}


def draws(record: TrackRecord, count: int, seed: int) -> dict[str, F64]:
    """``sampled`` of ``count`` samples of the drives; empty of too few drives."""
    own = np.arange(len(record))
    parts = [sampled(record, w) for w in draw_weights(len(record), count, seed, own)]
    return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]} if parts else {}


def intervals(record: TrackRecord, count: int, seed: int) -> dict[str, Interval]:
    """``FIGURES`` of the classes with labels and of all together, by key; without ends where fewer
    than ``MIN_DRIVES`` drives have labels of the class."""
    whole = sampled(record, np.ones((1, len(record)), np.int32))
    drawn, none = draws(record, count, seed), np.zeros(0)
    few = [n for n in record.labelled if record.drives_with(n) < MIN_DRIVES]
    return {
        k: interval(float(v[0]), none if k.split(".")[1] in few else drawn.get(k, none))
        for k, v in whole.items()
    }


def save(record: TrackRecord, path: Path) -> None:
    """Write ``tracks.npz``, the same bytes for the same record."""
    arrays: dict[str, Any] = {
        "name": np.array(list(record.counts), np.str_),
        "drive": np.array(record.drives, np.str_),
        "label_sha256": np.array([record.label_sha256[d] for d in record.drives], np.str_),
        "about": np.array(json.dumps({"format": FORMAT, **record.about}, sort_keys=True)),
    }
    stacked = [_stacked(own) for own in record.counts.values()]
    arrays |= {k: np.stack([s[k] for s in stacked]) for k in _NAMES}
    with path.open("wb") as f:
        np.savez_compressed(f, **arrays)


def load(path: Path) -> TrackRecord:
    """Read ``tracks.npz``.

    Raises:
        InputError: missing, or not written by ``save``.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            if sum(i.file_size for i in archive.zip.infolist()) > _MAX_BYTES:
                raise ValueError("it is too large")
            arrays = {k: archive[k] for k in archive.files}
        about = json.loads(str(arrays["about"]))
        if about.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        return _from_arrays(arrays, about)
    except FileNotFoundError as e:
        raise InputError(f"{path}: missing; expected a folder written by evaluate") from e
    except Exception as e:  # of the archive's, the arrays' and Python's own, that parses headers
        reason = " ".join(str(e).split())[:120]
        raise InputError(f"{path}: not a record written by evaluate ({reason})") from e


def _from_arrays(arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> TrackRecord:
    names, drives = arrays["name"].tolist(), arrays["drive"].tolist()
    shape = (len(names), len(drives))
    empty = TrackCounts()
    for k in _NAMES:
        expected = (*shape, *np.shape(getattr(empty, k)))
        if arrays[k].shape != expected or not np.isfinite(arrays[k]).all():
            raise ValueError(f"{k} is not of finite numbers {expected}")
    if len(set(names)) != len(names) or len(set(drives)) != len(drives) or not drives:
        raise ValueError("expected drives and classes, each once")
    if arrays["label_sha256"].shape != (len(drives),):
        raise ValueError("expected a digest for each drive")
    counts = {
        name: {
            d: TrackCounts(**{k: _number(arrays[k][i, j]) for k in _NAMES})
            for j, d in enumerate(drives)
        }
        for i, name in enumerate(names)
    }
    return TrackRecord(counts, dict(zip(drives, arrays["label_sha256"].tolist())), about)


def _number(value: Any) -> Any:
    """A curve (19,) as it is; a count as a whole number, a sum of overlaps as it is."""
    if np.ndim(value):
        return value
    return int(value) if float(value).is_integer() else float(value)
