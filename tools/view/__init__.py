"""Pictures of what the stack saw and planned, and videos of them."""

from __future__ import annotations

from tools.view.birdseye import draw_birdseye
from tools.view.overlay import draw_overlay, overlay_size_px
from tools.view.video import VideoWriter

__all__ = ["VideoWriter", "draw_birdseye", "draw_overlay", "overlay_size_px"]
