"""``python -m tools.soak SOURCE``: a long replay of a looped source, and the memory it takes.

The replay runs in a process of its own, whose resident memory is read every few seconds; at the
end it is stopped. Exit code 1 when the memory of the last third lies more than ``--grow`` above
that of the middle third (the first is left to caches that fill up). Linux only.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from math import sqrt
from pathlib import Path
from statistics import linear_regression, median, pvariance

_START = "import sys; from tools.cli import main; sys.exit(main())"


def resident_mb(pid: int) -> float | None:
    """Resident memory of a process in MB, None when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    kb = [int(line.split()[1]) for line in lines if line.startswith("VmRSS:")]
    return kb[0] / 1e3 if kb else None


def frames_in(folder: Path) -> int:
    """Lines of the unfinished record."""
    try:
        with (folder / ".partial" / "record.jsonl").open("rb") as f:
            return sum(block.count(b"\n") for block in iter(lambda: f.read(1 << 20), b""))
    except OSError:
        return 0


def soak(argv: list[str], minutes: float, every_s: float) -> list[tuple[int, float]]:
    """(frames, memory in MB), every ``every_s`` from the first frame on."""
    seen: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", _START, "replay", *argv, "--loop", "1000000"]
        process = subprocess.Popen([*command, "--out", folder], stderr=subprocess.DEVNULL)
        try:
            while not frames_in(Path(folder)) and process.poll() is None:
                time.sleep(0.5)
            end = time.monotonic() + 60 * minutes
            while time.monotonic() < end and process.poll() is None:
                now = resident_mb(process.pid)
                if now is not None:
                    seen.append((frames_in(Path(folder)), now))
                    print(f"{seen[-1][0]:7d} frames {now:8.1f} MB", flush=True)
                time.sleep(every_s)
        finally:
            process.terminate()
            process.wait()
    return seen


def growth_of(seen: list[tuple[int, float]]) -> tuple[float, float]:
    """Slope of a line through (frames, MB), and its standard error."""
    frames, used = zip(*seen, strict=True)
    line = linear_regression(frames, used)
    rest = [mb - line.intercept - line.slope * n for n, mb in seen]
    error = sqrt(sum(r * r for r in rest) / (len(seen) - 2) / (len(seen) * pvariance(frames)))
    return line.slope, error


def main() -> int:
    p = argparse.ArgumentParser(prog="python -m tools.soak", description=__doc__)
    p.add_argument("--minutes", type=float, default=3.0, help="(%(default)s)")
    p.add_argument("--every-s", type=float, default=5.0, metavar="S", help="(%(default)s)")
    p.add_argument("--grow", type=float, default=0.03, help="allowed share (%(default)s)")
    a, replay_options = p.parse_known_args()
    seen = soak(replay_options, a.minutes, a.every_s)
    if len(seen) < 9:
        print("the replay ended too soon; run it by itself to see why", file=sys.stderr)
        return 2
    size = len(seen) // 3
    thirds = [seen[:size], seen[size : 2 * size], seen[2 * size :]]
    for name, third in zip(("first", "middle", "last"), thirds, strict=True):
        used = [mb for _, mb in third]
        print(f"{name:6} third: {median(used):.1f} MB, {min(used):.1f} to {max(used):.1f}, "
              f"to frame {third[-1][0]}")  # fmt: skip
    middle, last = (median(mb for _, mb in third) for third in thirds[1:])
    slope, error = growth_of(seen[size:])
    growth = last / middle - 1
    print(f"from the middle to the last third {100 * growth:+.2f} %, {1e5 * slope:+.0f} MB for "
          f"100,000 frames (standard error {1e5 * error:.0f})")  # fmt: skip
    return int(growth > a.grow)


if __name__ == "__main__":
    raise SystemExit(main())
