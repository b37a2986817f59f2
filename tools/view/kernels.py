"""Inner loop of ``draw``, compiled by numba. Import inside the function that needs it."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from data.compiled import compiled

Array = NDArray[Any]


@compiled
def look_up_where(image: Array, mask: Array, table: Array) -> None:
    """Replace each channel of ``image`` (h, w, 3) by its entry of ``table`` (256, 3), all uint8,
    where ``mask`` (h, w) is not 0."""
    for v in range(image.shape[0]):
        for u in range(image.shape[1]):
            if mask[v, u]:
                for k in range(3):
                    image[v, u, k] = table[image[v, u, k], k]
