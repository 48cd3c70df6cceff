"""The network's answer, touched up before it is pasted: its colour, and what it drew too boldly."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.imaging.decode import Pixels
from worker.imaging.geometry import Floats

# Contrast is matched within these bounds: a face that is all but flat would be blown up.
_LEAST_GAIN, _MOST_GAIN = 0.5, 2.0
# The bilateral filter: this wide at 512 px, and blind to steps above so many levels.
_FILTER_PX, _FILTER_LEVELS = 8.0, 24.0


def with_colour_of(before: Pixels, after: Pixels, mask: Floats) -> Pixels:
    """``after`` with the mean and variance of ``before`` in each channel, weighed by ``mask``.

    Crops are uint8 (S, S, 3), ``mask`` float32 (S, S) 0…1 with something in it.
    """
    weights = mask / mask.sum()
    mean_before, spread_before = _mean_and_spread(before, weights)
    mean, spread = _mean_and_spread(after, weights)
    gain = spread_before / np.maximum(spread, 1e-3)
    gain = np.where(spread > 1e-3, gain.clip(_LEAST_GAIN, _MOST_GAIN), 1.0).astype(np.float32)
    matched = (after - mean) * gain + mean_before
    return np.asarray(matched.round().clip(0, 255), np.uint8)


def _mean_and_spread(crop: Pixels, weights: Floats) -> tuple[NDArray[np.float32], ...]:
    mean = np.tensordot(weights, crop.astype(np.float32), axes=2)
    variance = np.tensordot(weights, (crop - mean) ** 2, axes=2)
    return np.asarray(mean, np.float32), np.sqrt(variance, dtype=np.float32)


def calmed(crop: Pixels) -> Pixels:
    """Smoothed between edges, against texture that a network invents where it has nothing to go by.

    Bilateral: Tomasi and Manduchi, "Bilateral filtering for gray and color images", ICCV 1998.
    """
    wide_px = _FILTER_PX * len(crop) / 512
    return np.asarray(cv2.bilateralFilter(crop, -1, _FILTER_LEVELS, wide_px), np.uint8)
