"""Faults of a replay: texts that each begin with a stable code and a colon.

Codes:

- of a picture (``data.frame_quality``): ``black``, ``white``, ``damaged`` (the grey of lost data,
  or made from frames that were damaged), ``covered``, ``repeated``, ``frozen``, ``blurred``,
  ``noisy``;
- of its place in the stream: ``gap`` (frames are missing before it), ``time-jump`` (more than a
  second is), ``time-back``, ``size`` (another size than the first frame's);
- of the file: ``corrupt`` (frames that could not be decoded before this one), ``cut-short``,
  ``source`` (anything else);
- of the stack: ``camera`` (the given camera disagrees with the lane lines, or the
  assumed one has turned),
  ``perception-failed``, ``plan-failed``, ``deadline`` and ``skipped`` (with --realtime).

After ``black``, ``white``, ``damaged``, ``covered``, ``repeated``, ``frozen`` and
``perception-failed`` the picture is not used: tracks coast, and the last plan is driven on for as
long as the planner allows a scene to age, then stopped along.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_OF_LOGS = (  # what logs say, in their words
    ("corrupt", r"corrupt frames? |^frame \d+ (is|cannot be|holds|claims|has) .*skipped$"),
    ("cut-short", r"cut short"),
    ("time-back", r"goes back in time"),
    ("size", r" is \d+x\d+, not \d+x\d+"),
)
_CODE = re.compile(r"[a-z]+(-[a-z]+)*: ")


def of_log(text: str) -> str:
    """A log's fault with its code in front."""
    for code, pattern in _OF_LOGS:
        if re.search(pattern, text):
            return f"{code}: {text}"
    return f"source: {text}"


def codes(faults: Iterable[str]) -> list[str]:
    """The code of each fault."""
    return [f.partition(":")[0] if _CODE.match(f) else "source" for f in faults]
