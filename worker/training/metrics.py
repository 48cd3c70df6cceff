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
    """Separable Gaussian window over the first two axes, only where it fits."""
    for axis in (0, 1):
        length = plane.shape[axis] - len(_WINDOW) + 1
        parts = (
            weight * plane[(slice(None),) * axis + (slice(shift, shift + length),)]
            for shift, weight in enumerate(_WINDOW)
        )
        plane = np.sum(list(parts), axis=0)
    return plane


def _check(image: Image, reference: Image) -> None:
    if image.shape != reference.shape or image.ndim != 3:
        raise ValueError(f"images differ in shape: {image.shape} and {reference.shape}")
    if min(image.shape[:2]) < len(_WINDOW):
        raise ValueError(f"images are smaller than the {len(_WINDOW)} px window: {image.shape}")
