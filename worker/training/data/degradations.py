"""What spoils a photo, in the order a camera and the web do it: blur, shrink, noise, JPEG.

The model of the GPEN paper (arXiv 2105.06070, eq. 5), drawn at random from a recipe. Pure and
seeded: the same image, generator state and recipe give the same bytes. An image is uint8 RGB
H x W x 3; the degraded one has the size of the sharp one, enlarged bicubically.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Range = tuple[float, float]

_SHRINKERS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)


@dataclass(frozen=True)
class Recipe:
    """Ranges to draw from, in the units of the sharp image and of 8-bit values."""

    blur_px: Range
    shrink: Range
    noise: Range
    jpeg: Range
    motion_share: float = 0.0
    light_share: float = 0.0


# Customers' photos are anything from nearly sharp to hopeless, so training sees it all.
TRAINING = Recipe((0.2, 4.0), (1.0, 8.0), (0.0, 15.0), (30, 95), motion_share=0.15, light_share=0.4)
# What the published figures are measured with. Changing it makes them incomparable.
VALIDATION = Recipe((1.0, 3.0), (4.0, 8.0), (2.0, 10.0), (40, 80))
# A photo out of a phone that was passed on once; and one that is nearly lost.
LIGHT = Recipe((0.4, 1.0), (1.0, 2.0), (0.0, 3.0), (75, 95))
HEAVY = Recipe((2.0, 4.0), (6.0, 10.0), (5.0, 12.0), (30, 60))
# A face of a quarter, and of an eighth, of the crop's resolution: the bars are measured by them.
X4 = Recipe((0.8, 1.6), (4.0, 4.0), (2.0, 6.0), (60, 85))
X8 = Recipe((1.5, 3.0), (8.0, 8.0), (2.0, 6.0), (60, 85))
RECIPES = {"light": LIGHT, "validation": VALIDATION, "heavy": HEAVY, "x4": X4, "x8": X8}


def degrade(sharp: Image, rng: Generator, recipe: Recipe) -> Image:
    """A spoiled copy. Of `light_share` the shrink factor is uniform, else from its upper half."""
    height, width = sharp.shape[:2]
    blurred = cv2.filter2D(sharp, -1, _draw_kernel(rng, recipe), borderType=cv2.BORDER_REFLECT_101)
    low, high = recipe.shrink
    if rng.random() >= recipe.light_share:
        low = max(low, high / 2)
    factor = rng.uniform(low, high)
    size = max(round(width / factor), 8), max(round(height / factor), 8)
    small = _image(cv2.resize(blurred, size, interpolation=int(rng.choice(_SHRINKERS))))
    noisy = _add_noise(small, rng, rng.uniform(*recipe.noise))
    coded = compress(noisy, int(rng.integers(int(recipe.jpeg[0]), int(recipe.jpeg[1]) + 1)))
    return _image(cv2.resize(coded, (width, height), interpolation=cv2.INTER_CUBIC))


def gaussian_kernel(sigma_x: float, sigma_y: float, angle: float) -> NDArray[np.float32]:
    """Anisotropic Gaussian, turned by `angle` radians, summing to one."""
    radius = max(1, math.ceil(3 * max(sigma_x, sigma_y)))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    kernel = np.exp(-0.5 * ((along / sigma_x) ** 2 + (across / sigma_y) ** 2))
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


def motion_kernel(length_px: float, angle: float) -> NDArray[np.float32]:
    """A straight, slightly soft stroke: the hand moved while the shutter was open."""
    return gaussian_kernel(max(length_px, 1.0) / 3.5, 0.6, angle)


def compress(image: Image, quality: int) -> Image:
    """Through a JPEG of this quality (1..100) and back."""
    done, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR) if done else None
    if decoded is None:
        raise ValueError(f"cannot code an image of shape {image.shape} as JPEG")
    return _image(decoded[:, :, ::-1])


def _draw_kernel(rng: Generator, recipe: Recipe) -> NDArray[np.float32]:
    angle = rng.uniform(0.0, math.pi)
    low, high = recipe.blur_px
    if rng.random() < recipe.motion_share:
        return motion_kernel(rng.uniform(low, 4 * high), angle)
    # Square: more often moderate than extreme.
    sigma_x, sigma_y = low + (high - low) * rng.random(2) ** 2
    if rng.random() < 0.5:
        sigma_y = sigma_x
    return gaussian_kernel(sigma_x, sigma_y, angle)


def _add_noise(image: Image, rng: Generator, sigma: float) -> Image:
    """Gaussian noise; in half of the cases the same in all channels, as film grain is."""
    channels = 1 if rng.random() < 0.5 else 3
    noise = rng.standard_normal((*image.shape[:2], channels), dtype=np.float32) * sigma
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def _image(array: object) -> Image:
    return np.ascontiguousarray(array, dtype=np.uint8)
