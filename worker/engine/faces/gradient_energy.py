"""The energy of the gradients inside a face: how much detail and contour its picture has."""

from __future__ import annotations

import cv2
import numpy as np

from worker.imaging.decode import Pixels
from worker.imaging.geometry import Floats


def gradient_energy(crop: Pixels, mask: Floats) -> float:
    """Return the sum of the squared gradients of the luminance, weighted by ``mask``, (S, S)."""
    grey = np.asarray(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), np.float64)
    down, right = np.gradient(grey)
    return float(((down**2 + right**2) * mask).sum())
