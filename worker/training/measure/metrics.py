"""PSNR and SSIM of a restored image against the sharp one, by scikit-image.

Both accept two uint8 images of the same shape, H x W x 3; higher is better.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

_SIGMA, _WINDOW_PX = 1.5, 11


def psnr(image: Image, reference: Image) -> float:
    """Return the peak signal-to-noise ratio in dB over all channels; infinite for equal images."""
    _check(image, reference)
    if np.array_equal(image, reference):
        return math.inf
    return float(_metrics().peak_signal_noise_ratio(reference, image, data_range=255))


def ssim(image: Image, reference: Image) -> float:
    """Return the structural similarity, at most 1 (Wang et al. 2004): a Gaussian window of 11 px.

    It is the mean over the channels and over the pixels whose window lies inside the image.
    """
    _check(image, reference)
    return float(
        _metrics().structural_similarity(
            reference,
            image,
            data_range=255,
            channel_axis=2,
            gaussian_weights=True,
            sigma=_SIGMA,
            use_sample_covariance=False,
        )
    )


def _metrics() -> Any:
    """scikit-image's metrics, imported at the first use: with scipy, which takes a second."""
    return importlib.import_module("skimage.metrics")


def _check(image: Image, reference: Image) -> None:
    if image.shape != reference.shape or image.ndim != 3:
        raise ValueError(f"images differ in shape: {image.shape} and {reference.shape}")
    if min(image.shape[:2]) < _WINDOW_PX:
        raise ValueError(f"images are smaller than the {_WINDOW_PX} px window: {image.shape}")
