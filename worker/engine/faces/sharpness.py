"""Measures whether a face is already sharp, so that a restoration could only harm it.

Blur, enlargement and compression remove the finest detail. So its share of all detail separates
sharp from damaged faces. Noise is fine detail too, and it has a measure of its own. The limits come
from faces with known originals: ``python -m benchmarks.face_options`` measures their effect, and
docs/models.md has the results.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.imaging.decode import Pixels

#: A face with a larger share of fine detail and less noise is not restored.
MIN_FINE_SHARE, MAX_NOISE = 0.20, 4.0
_FINE_PX, _COARSE_PX = 1.0, 4.0
_MIN_DETAIL = 0.1  # in levels; less is only rounding
# The response is 0 on a plane, so it is noise or an edge (Immerkaer, "Fast noise variance
# estimation", CVIU 64(2), 1996). Edges are few, so its median is that of the noise.
_NOISE_KERNEL = np.outer([1, -2, 1], [1, -2, 1]).astype(np.float32)
_KERNEL_NORM, _MEDIAN_OF_NORMAL = 6.0, 0.6745


@dataclass(frozen=True, slots=True)
class Sharpness:
    """``fine_share``: share of the detail below 1 px in that below 4 px, 0…1.

    ``noise``: standard deviation of the noise in 8-bit levels.
    """

    fine_share: float
    noise: float

    @property
    def is_enough(self) -> bool:
        """Whether the face needs no restoration."""
        return self.fine_share > MIN_FINE_SHARE and self.noise < MAX_NOISE


def sharpness(crop: Pixels) -> Sharpness:
    """Measure the middle of an aligned crop, uint8 RGB (S, S, 3): it holds face and no border."""
    side = len(crop)
    rows, columns = slice(side // 6, side - side // 6), slice(side // 5, side - side // 5)
    grey = np.asarray(cv2.cvtColor(crop[rows, columns], cv2.COLOR_RGB2GRAY), np.float32)
    fine, coarse = (_rms(grey - _blurred(grey, px)) for px in (_FINE_PX, _COARSE_PX))
    response = np.abs(cv2.filter2D(grey, -1, _NOISE_KERNEL))
    return Sharpness(
        fine_share=fine / coarse if coarse > _MIN_DETAIL else 0.0,
        noise=float(np.median(response)) / _MEDIAN_OF_NORMAL / _KERNEL_NORM,
    )


def _blurred(grey: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma_px), np.float32)


def _rms(values: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(values**2)))
