"""How near a restored photo is to the sharp one: PSNR and SSIM, in numpy alone.

Both take two uint8 images of the same shape, H x W x 3, and are the higher the better.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Plane = NDArray[np.float64]

_WINDOW = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
_WINDOW /= _WINDOW.sum()


def psnr(image: Image, reference: Image) -> float:
    """Peak signal-to-noise ratio in dB over all channels; infinite for equal images."""
    _check(image, reference)
    error = float(np.mean((image.astype(np.float64) - reference.astype(np.float64)) ** 2))
    return math.inf if error == 0.0 else 10.0 * math.log10(255.0**2 / error)


def ssim(image: Image, reference: Image) -> float:
    """Structural similarity (Wang et al. 2004), at most 1: 11 px Gaussian window of sigma 1.5.

    Mean over the channels and over the pixels whose window lies inside the image.
    """
    _check(image, reference)
    x, y = image.astype(np.float64), reference.astype(np.float64)
    mean_x, mean_y = _smooth(x), _smooth(y)
    var_x = _smooth(x * x) - mean_x**2
    var_y = _smooth(y * y) - mean_y**2
    covariance = _smooth(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    likeness /= (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    return float(likeness.mean())


def _smooth(plane: Plane) -> Plane:
    """Gaussian window over the first two axes, only where it fits: two band matrices."""
    down = np.tensordot(_band(plane.shape[0]), plane, axes=(1, 0))
    both: Plane = np.moveaxis(np.tensordot(_band(plane.shape[1]), down, axes=(1, 1)), 0, 1)
    return both


def _band(length: int) -> Plane:
    """(length - 10, length): the window, one pixel further in each row."""
    rows = np.zeros((length - len(_WINDOW) + 1, length))
    for shift, weight in enumerate(_WINDOW):
        np.fill_diagonal(rows[:, shift:], weight)
    return rows


def _check(image: Image, reference: Image) -> None:
    if image.shape != reference.shape or image.ndim != 3:
        raise ValueError(f"images differ in shape: {image.shape} and {reference.shape}")
    if min(image.shape[:2]) < len(_WINDOW):
        raise ValueError(f"images are smaller than the {len(_WINDOW)} px window: {image.shape}")
