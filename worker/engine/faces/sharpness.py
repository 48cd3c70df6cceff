"""Whether a face is sharp already, so that restoring it could only take from it.

What blur, enlarging and compression take away is the finest detail. Its share of all detail tells
a sharp face from a spoiled one; noise is fine detail too, and is told apart by its own measure.
The bounds were found on faces whose sharp originals are known: ``benchmarks/do_no_harm.py`` prints
what they cost and bring, docs/models.md the figures.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.imaging.decode import Pixels

#: A face with a larger share of fine detail, and less noise, is left alone.
LEAST_FINE_SHARE, MOST_NOISE = 0.20, 4.0
_FINE_PX, _COARSE_PX = 1.0, 4.0
_PLAIN = 0.1  # of the detail's levels: there is none, only rounding
# Ideal where neighbours lie on a plane: what it answers is noise or an edge (Immerkaer, "Fast noise
# variance estimation", CVIU 64(2), 1996). Its median is that of the noise, for edges are few.
_NOISE_KERNEL = np.outer([1, -2, 1], [1, -2, 1]).astype(np.float32)
_KERNEL_NORM, _MEDIAN_OF_NORMAL = 6.0, 0.6745


@dataclass(frozen=True, slots=True)
class Sharpness:
    """``fine_share``: of the detail below 4 px, how much is below 1 px, 0…1.

    ``noise``: its standard deviation, in levels of 8 bits.
    """

    fine_share: float
    noise: float

    @property
    def is_enough(self) -> bool:
        """Whether a restoration would rather harm."""
        return self.fine_share > LEAST_FINE_SHARE and self.noise < MOST_NOISE


def sharpness(crop: Pixels) -> Sharpness:
    """Of the middle of an aligned crop, uint8 RGB (S, S, 3): there is face, and no border."""
    side = len(crop)
    rows, columns = slice(side // 6, side - side // 6), slice(side // 5, side - side // 5)
    grey = np.asarray(cv2.cvtColor(crop[rows, columns], cv2.COLOR_RGB2GRAY), np.float32)
    fine, coarse = (_rms(grey - _blurred(grey, px)) for px in (_FINE_PX, _COARSE_PX))
    response = np.abs(cv2.filter2D(grey, -1, _NOISE_KERNEL))
    return Sharpness(
        fine_share=fine / coarse if coarse > _PLAIN else 0.0,
        noise=float(np.median(response)) / _MEDIAN_OF_NORMAL / _KERNEL_NORM,
    )


def _blurred(grey: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma_px), np.float32)


def _rms(values: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(values**2)))
