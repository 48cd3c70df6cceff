"""The paste mask from landmarks: how much of each pixel of a crop belongs to the face."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.imaging.geometry import Floats

# An oval that includes eyebrows and chin. The unit is the distance from the eyes to the mouth.
_CENTRE, _HALF_WIDTH, _HALF_HEIGHT = 0.42, 1.3, 1.55
_SOLID, _GONE = 0.8, 1.1  # where the soft edge begins and ends, in radii of the oval
_BORDER = 26 / 512  # share of the crop that is not pasted: the network saw nothing beyond it


def face_mask(landmarks: NDArray[np.float64], size_px: int) -> Floats:
    """Return the weight of each pixel of the crop: float32 (size_px, size_px), from 0 to 1.

    The mask is an oval around the line between the eyes and the mouth. Its size depends only on
    the length of that line, which, unlike the distance of the eyes, stays the same in profile.
    ``landmarks`` (5, 2) are in pixels of the crop.
    """
    eyes, mouth = landmarks[:2].mean(0), landmarks[3:].mean(0)
    down = mouth - eyes
    length = float(np.hypot(*down))
    if length < 1:  # not a face: all landmarks are at one point
        return np.zeros((size_px, size_px), np.float32)
    down = down / length
    y, x = np.mgrid[0:size_px, 0:size_px].astype(np.float32)
    centre = eyes + _CENTRE * (mouth - eyes)
    x, y = x - np.float32(centre[0]), y - np.float32(centre[1])
    along, across = x * down[0] + y * down[1], x * down[1] - y * down[0]
    radius = np.hypot(along / (_HALF_HEIGHT * length), across / (_HALF_WIDTH * length))
    oval = _smooth_step((_GONE - radius) / (_GONE - _SOLID))
    ramp = np.minimum(np.arange(size_px), np.arange(size_px)[::-1]) / (_BORDER * size_px) - 1
    edge = _smooth_step(ramp)
    return np.asarray(oval * np.minimum(edge[:, None], edge[None, :]), np.float32)


def _smooth_step(t: NDArray[Any]) -> NDArray[Any]:
    """0 for t <= 0, 1 for t >= 1, and a smooth cubic between."""
    t = t.clip(0, 1)
    return np.asarray(t * t * (3 - 2 * t))
