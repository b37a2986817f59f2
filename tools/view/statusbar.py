"""The strip below the picture: what was decided, why, and how far it can be trusted."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from data.types import U8, Frame, Plan, PlanStatus, Scene
from tools.view.draw import (
    DIM,
    FAULT,
    PANEL,
    STATUS_COLOURS,
    STOP,
    WHITE,
    elided,
    ink_on,
    text_width_px,
)
from tools.view.marks import Text, put_texts

_SEPARATOR = "  ·  "


def text_size_px(height_px: int) -> int:
    """Size of ordinary text on a picture of this height."""
    return min(max(round(5 + 0.0185 * height_px), 11), 40)


def bar_height_px(height_px: int) -> int:
    """Height of the strip below a picture of this height: two rows of text."""
    return 2 * round(1.55 * text_size_px(height_px)) + 8


def target_speed_mps(plan: Plan) -> float:
    """Speed the plan asks for a second ahead; 0 where it has no path."""
    if not len(plan.t_s) or not np.isfinite(plan.speed_mps).all():
        return 0.0
    return float(np.interp(plan.t_s[0] + 1.0, plan.t_s, plan.speed_mps))


def draw_status(
    bar: U8,
    frame: Frame,
    scene: Scene | None,
    plan: Plan,
    status_text: Sequence[str],
    faults: Sequence[str],
) -> None:
    """Fill ``bar`` (h, w, 3) in place.

    First row: the status, its reason and the speed asked for. Second row: frame, time, camera
    and ``status_text``; faults in red at the right.
    """
    height, width = bar.shape[:2]
    colour = STATUS_COLOURS.get(plan.status, STOP)
    # filled by OpenCV: broadcasting three numbers takes ten times as long
    cv2.rectangle(bar, (0, 0), (width, height), PANEL, -1)
    cv2.rectangle(bar, (0, 0), (width, 2), colour, -1)
    size = next(s for s in range(48, 0, -1) if 2 * round(1.55 * s) + 8 <= height or s == 1)
    row, gap = (height - 8) // 2, round(0.6 * size)
    first, second = 5 + row // 2, 4 + row + row // 2
    pill = str(plan.status).replace("_", " ")
    pill_end = 3 * gap + text_width_px(pill, size, True)
    bar[first - row // 2 + 1 : first + row // 2, gap:pill_end] = colour
    texts = [Text(pill, 2 * gap, first, size, ink_on(colour), True)]
    target = target_speed_mps(plan)
    speed = f"{target * 3.6:.0f} km/h" if target > 0.1 or plan.status is PlanStatus.OK else "stop"
    left = width - gap - text_width_px(speed, size, True)
    texts.append(Text(speed, left, first, size, WHITE, True))
    left -= text_width_px("target ", size)
    texts.append(Text("target ", left, first, size, DIM))
    reason = elided(plan.reason, size, left - 2 * gap - pill_end)
    texts.append(Text(reason, pill_end + gap, first, size, WHITE))
    facts = [f"frame {frame.index}", f"{frame.t_ns / 1e9:.2f} s"]
    facts += [] if scene is None else [f"camera {scene.camera.source}"]
    text = _SEPARATOR.join([*facts, *(t for t in status_text if t)])
    put_texts(bar, texts + _facts(text, faults, second, size, gap, width))


def _facts(
    text: str, faults: Sequence[str], row_px: int, size: int, gap: int, width: int
) -> list[Text]:
    room, texts = width - 2 * gap, []
    if faults:
        more = f" (+{len(faults) - 1})" if len(faults) > 1 else ""
        fault = elided(faults[0], size, round(0.55 * room) - text_width_px(more, size)) + more
        room -= text_width_px(fault, size) + 2 * gap
        texts.append(Text(fault, 3 * gap + room, row_px, size, FAULT))
    return [*texts, Text(elided(text, size, room), gap, row_px, size, DIM)]
