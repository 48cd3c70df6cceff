"""Previews: small pictures of the faces of a photo, to choose from."""

from __future__ import annotations

import cv2
import numpy as np

from worker.engine.faces.detector import DetectedFace
from worker.imaging.decode import Pixels

#: The side of a preview is at most this, and this many times the longer side of the box.
MAX_PREVIEW_PX, _SURROUNDINGS = 160, 1.5


def preview(image: Pixels, face: DetectedFace) -> Pixels:
    """Cut a square around ``face`` out of ``image``, uint8 RGB (H, W, 3), and reduce it.

    At a border of the photo the square is smaller; it is never enlarged.
    """
    x0, y0, x1, y1 = face.box
    half = max(1.0, _SURROUNDINGS * face.long_side_px / 2)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    height, width = image.shape[:2]
    rows = slice(max(0, round(y - half)), min(height, max(round(y - half) + 1, round(y + half))))
    columns = slice(max(0, round(x - half)), min(width, max(round(x - half) + 1, round(x + half))))
    square = image[rows, columns]
    scale = MAX_PREVIEW_PX / max(square.shape[:2])
    if scale >= 1:
        return np.ascontiguousarray(square)
    size = (max(1, round(square.shape[1] * scale)), max(1, round(square.shape[0] * scale)))
    return np.asarray(cv2.resize(square, size, interpolation=cv2.INTER_AREA), np.uint8)
