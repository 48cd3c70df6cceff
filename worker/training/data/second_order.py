"""Damage upon damage: what a photo goes through that is taken, sent, shrunk, and sent again.

After BSRGAN (Zhang et al., arXiv 2103.14006) and Real-ESRGAN (Wang et al., arXiv 2107.10833): two
rounds, each of blur, resampling, noise and compression in a shuffled order, with several resamplers
and kernels, sensor-like noise, and JPEG or WebP. Pure and seeded, as `degrade` is.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from worker.training.data.degradations import Image, compress, gaussian_kernel, motion_kernel

_RESAMPLERS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST)
_ENLARGERS = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
_LEAST_PX = 16

Step = Callable[[Image, Generator], Image]


def degrade_twice(sharp: Image, rng: Generator) -> Image:
    """Return a copy that went through two rounds of damage, at the size of the sharp one."""
    height, width = sharp.shape[:2]
    shrink = math.exp(rng.uniform(0.0, math.log(8.0)))  # in all; as often 1…2 as 4…8
    first = shrink ** rng.uniform(0.3, 1.0)
    image = _round(sharp, rng, size=_shrunk(width, height, first), strength=1.0)
    if rng.random() < 0.8:
        image = _round(image, rng, size=_shrunk(width, height, shrink), strength=0.6)
    enlarge = int(rng.choice(_ENLARGERS))
    return _uint8(cv2.resize(image, (width, height), interpolation=enlarge))


def sensor_noise(image: Image, rng: Generator, gain: float, read: float) -> Image:
    """Add what a camera adds: shot noise that grows with the light, and a floor of read noise.

    ``gain`` is the variance per level, ``read`` the deviation in the dark, both in 8-bit levels.
    """
    light = image.astype(np.float32)
    deviation = np.sqrt(light * gain + read**2)
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    return _clipped(light + deviation * noise)


def compress_webp(image: Image, quality: int) -> Image:
    """Through a WebP of this quality (1..100) and back."""
    done, data = cv2.imencode(".webp", image[:, :, ::-1], [cv2.IMWRITE_WEBP_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR) if done else None
    if decoded is None:
        raise ValueError(f"cannot code an image of shape {image.shape} as WebP")
    return _uint8(decoded[:, :, ::-1])


def _round(image: Image, rng: Generator, *, size: tuple[int, int], strength: float) -> Image:
    """Blur, resize and noise in a shuffled order; compression comes last, as on the web."""

    def resize(picture: Image, rng: Generator) -> Image:
        return _uint8(cv2.resize(picture, size, interpolation=int(rng.choice(_RESAMPLERS))))

    steps: list[Step] = [
        lambda picture, rng: _blur(picture, rng, strength),
        resize,
        lambda picture, rng: _noise(picture, rng, strength),
    ]
    for index in rng.permutation(len(steps)):
        image = steps[index](image, rng)
    quality = int(rng.integers(35, 96))
    return compress_webp(image, quality) if rng.random() < 0.25 else compress(image, quality)


def _blur(image: Image, rng: Generator, strength: float) -> Image:
    if rng.random() < 0.2:
        return image
    angle = rng.uniform(0.0, math.pi)
    if rng.random() < 0.12:
        kernel = motion_kernel(rng.uniform(1.0, 8.0 * strength), angle)
    else:
        sigma = 0.2 + 2.8 * strength * rng.random(2) ** 2
        if rng.random() < 0.5:
            sigma[1] = sigma[0]
        kernel = gaussian_kernel(float(sigma[0]), float(sigma[1]), angle)
        if rng.random() < 0.15:
            kernel = _disk(float(sigma[0]))
    return _uint8(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101))


def _noise(image: Image, rng: Generator, strength: float) -> Image:
    kind = rng.random()
    if kind < 0.3:
        return image
    if kind < 0.65:
        return sensor_noise(image, rng, rng.uniform(0.0, 0.8) * strength, 3.0 * strength)
    channels = 1 if rng.random() < 0.4 else 3
    noise = rng.standard_normal((*image.shape[:2], channels), dtype=np.float32)
    return _clipped(image + noise * rng.uniform(0.0, 14.0 * strength))


def _disk(radius_px: float) -> NDArray[np.float32]:
    """Out of focus: a flat disk."""
    reach = max(1, math.ceil(radius_px))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = np.clip(radius_px + 0.5 - np.hypot(x, y), 0.0, 1.0)
    disk[reach, reach] = 1.0
    return np.asarray(disk / disk.sum(), np.float32)


def _shrunk(width: int, height: int, factor: float) -> tuple[int, int]:
    return max(round(width / factor), _LEAST_PX), max(round(height / factor), _LEAST_PX)


def _clipped(values: NDArray[np.float32]) -> Image:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _uint8(array: object) -> Image:
    return np.ascontiguousarray(array, dtype=np.uint8)
