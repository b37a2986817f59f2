"""The folder of an unfinished replay, ``OUT/.partial``, from which it can be resumed.

It holds ``run.json`` (what is replayed and how), the record and timings as far as they are, the
segments of the overlay, and ``checkpoint.json``: how long the files were at a frame, and the
state of tracker, planner and camera after it. Whatever was written behind the newest checkpoint
is cut off and made again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.logs.bags.store import BAG_SUFFIXES
from data.logs.images import IMAGE_SUFFIXES
from perception.runtime import find_model
from tools.files import write_json, write_text
from tools.snapshot import decode, encode

FOLDER = ".partial"
_HEADER, _CHECKPOINT, _LOCK, _DONE = "run.json", "checkpoint.json", "lock", "done"
# what logs read of a folder: pictures, bags, the tables of a KITTI drive, a comma segment's arrays
_READ = IMAGE_SUFFIXES | BAG_SUFFIXES | {".txt", ".yaml", ".hevc", ""}


@dataclass(frozen=True)
class Checkpoint:
    """``frames`` were written; ``sizes``: bytes of each file then; ``state``: for the stack and
    tally, as ``tools.snapshot`` takes it."""

    frames: int
    sizes: dict[str, int]
    state: dict[str, Any]


class Partial:
    """The open folder of an unfinished replay.

    Attributes:
        path: of the folder; checkpoint: where it can be gone on from, None at the beginning.
    """

    def __init__(self, path: Path, checkpoint: Checkpoint | None) -> None:
        self.path, self.checkpoint = path, checkpoint

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint; the files must have reached the disk before."""
        row = {
            "frames": checkpoint.frames,
            "sizes": checkpoint.sizes,
            "state": encode(checkpoint.state),
        }
        write_text(self.path / _CHECKPOINT, json.dumps(row, separators=(",", ":")))

    def cut_back(self) -> None:
        """Cut the files to what they were at the checkpoint."""
        for name, size in (self.checkpoint.sizes if self.checkpoint else {}).items():
            os.truncate(self.path / name, size)

    def finish(self, names: Sequence[str]) -> None:
        """All is written: move the files to the output folder, the last of ``names`` last."""
        (self.path / _DONE).touch()
        _finish_moves(self.path, names)


def _finish_moves(path: Path, names: Sequence[str]) -> None:
    out = path.parent
    if (path / names[-1]).exists():
        (out / names[-1]).unlink(missing_ok=True)
    for name in names:
        if (path / name).exists():
            os.replace(path / name, out / name)
    _empty(path, (_LOCK, _DONE, _HEADER))  # which say whose is done as long as anything is left
    shutil.rmtree(path)


@contextmanager
def partial_run(
    out: Path, names: Sequence[str], header: dict[str, Any], resume: bool, once: bool = False
) -> Iterator[Partial | None]:
    """The folder of a replay in ``out``, empty or as an earlier one left it if ``resume``.

    It stays behind when the block fails after a checkpoint was reached, ``once`` without advice
    to resume what cannot be. None: the earlier replay was complete but for its files' moving,
    which is done now.

    Raises:
        InputError: another replay is writing there, or what is to be resumed is of another source
            or other options, or cannot be read.
    """
    path = out / FOLDER
    path.mkdir(exist_ok=True)
    with _locked(path / _LOCK, out):
        begun = resume and _begun(path, header, out)
        if begun and (path / _DONE).exists():
            _finish_moves(path, names)
            yield None
            return
        checkpoint = _earlier(path) if begun else None
        if checkpoint is None:
            if (path / _CHECKPOINT).exists() and not resume:
                print(f"an unfinished replay in {out} is given up", file=sys.stderr)
            _empty(path, (_LOCK,))
            write_json(path / _HEADER, header)
        try:
            yield Partial(path, checkpoint)
        except BaseException:
            if (path / _CHECKPOINT).exists():
                advice = "" if once else "; --resume goes on with it"
                print(f"what was done so far is kept in {path}{advice}", file=sys.stderr)
            else:
                shutil.rmtree(path, ignore_errors=True)
            raise


def _begun(path: Path, header: dict[str, Any], out: Path) -> bool:
    """Whether there is an unfinished replay, which is then of this header."""
    if not (path / _HEADER).exists():
        print("nothing to resume: from the beginning", file=sys.stderr)
        return False
    with _readable(path):
        before = json.loads((path / _HEADER).read_text(encoding="utf-8"))
        header = json.loads(json.dumps(header))  # as it comes back
        for key in sorted({*before, *header}):
            if before.get(key) != header.get(key):
                differs = _difference(key, before.get(key), header.get(key))
                raise InputError(
                    f"--resume: the unfinished replay in {out} {differs}; give the same, or leave "
                    "out --resume"
                )
    return True


def _earlier(path: Path) -> Checkpoint | None:
    if not (path / _CHECKPOINT).exists():
        print("nothing to resume before the first checkpoint: from the beginning", file=sys.stderr)
        return None
    with _readable(path):
        row = json.loads((path / _CHECKPOINT).read_text(encoding="utf-8"))
        sizes = {str(k): int(v) for k, v in row["sizes"].items()}
        for name, size in sizes.items():
            if (path / name).stat().st_size < size:
                raise ValueError(f"{name} is shorter than it was")
        return Checkpoint(int(row["frames"]), sizes, decode(row["state"]))


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise InputError(
            f"--resume: {path} cannot be read ({type(e).__name__}: {e}); leave out --resume to "
            "begin anew"
        ) from e


def _difference(key: str, before: Any, now: Any) -> str:
    if all(re.fullmatch("[0-9a-f]{64}", str(v)) for v in (before, now)):  # a file's sum says little
        return f"was begun with another {key}"
    return f"has {key} {_short(before)}, this one {_short(now)}"


def _short(value: Any) -> str:
    return "none" if value is None else f"{value!s:.60}"


def _empty(path: Path, kept: Sequence[str]) -> None:
    for item in path.iterdir():
        if item.is_dir():
            shutil.rmtree(item)
        elif item.name not in kept:
            item.unlink()


@contextmanager
def _locked(path: Path, out: Path) -> Iterator[None]:
    """Held by one process at a time; freed by its end, however it ends."""
    try:
        import fcntl
    except ImportError:  # not a Unix: two replays into one folder are then the user's affair
        yield
        return
    with path.open("w") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            raise InputError(f"--out {out}: another replay is writing there") from e
        yield


def file_sha256(path: Path | None) -> str | None:
    """Of a small file; None for none or where it cannot be read."""
    with suppress(OSError):
        return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()
    return None


def files_sha256(a: argparse.Namespace) -> dict[str, str | None]:
    """Of the files that a replay's options name beside model and source, and of the score map."""
    names = ("camera", "inject", "detector", "detector_names", "blur_detector", "blur_names")
    scores = (a.detector or find_model(a.model)).with_suffix(".scores.json")
    return {n: file_sha256(getattr(a, n)) for n in names} | {"score map": file_sha256(scores)}


def identity(source: Path | None, out: Path) -> str:
    """What tells one source from another without reading it whole: name, size, time of change.

    Of a folder those of all files below it that a log may read, without hidden ones and ``out``.
    """
    if source is None:
        return "built-in drive"
    path = source.resolve()
    if not path.is_dir():
        found = path.stat()
        return f"{path} {found.st_size} {found.st_mtime_ns}"
    files = repr(sorted(_files(path, out.resolve())))
    return f"{path} {hashlib.sha256(files.encode()).hexdigest()[:16]}"


def _files(folder: Path, out: Path) -> Iterator[tuple[str, int, int]]:
    for place, folders, names in os.walk(folder):
        folders[:] = [f for f in folders if not f.startswith(".") and Path(place, f) != out]
        for file in (Path(place, n) for n in names if not n.startswith(".")):
            with suppress(OSError):  # a link to nowhere
                found = file.stat()
                if file.suffix.lower() in _READ and stat.S_ISREG(found.st_mode):
                    yield str(file), found.st_size, found.st_mtime_ns
