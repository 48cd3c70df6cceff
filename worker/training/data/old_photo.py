"""The damage of old prints: fading, grain, scratches and dust, half-tone, and then a scanner.

Pure and seeded, as `degrade` is. Each kind of damage is drawn or left out for itself.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from worker.training.data.degradations import Image, Recipe, degrade

#: Scanned and sent on.
SCAN = Recipe((0.3, 2.5), (1.0, 6.0), (0.0, 5.0), (45, 92), light_share=0.6)
_SEPIA = np.array((1.07, 0.98, 0.82), np.float32)


def age(sharp: Image, rng: Generator) -> Image:
    """Return a copy that looks like a scan of an old print, at the size of the sharp one."""
    image = sharp.astype(np.float32)
    if rng.random() < 0.8:
        image = to_monochrome(image, rng)
    if rng.random() < 0.7:
        image = fade(image, rng)
    if rng.random() < 0.8:
        image = add_grain(image, rng)
    if rng.random() < 0.2:
        image = halftone(image, rng)
    if rng.random() < 0.4:
        image = scratch(image, rng)
    return degrade(_clipped(image), rng, SCAN)


def to_monochrome(image: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """Grey, or more or less sepia; early plates do not see red."""
    weights = np.array((rng.uniform(0.05, 0.35), rng.uniform(0.4, 0.6), 0.0), np.float32)
    weights[2] = 1.0 - weights.sum()
    grey = (image @ weights)[:, :, None]
    tone = 1.0 + (_SEPIA - 1.0) * rng.uniform(0.0, 1.0) * (rng.random() < 0.5)
    return np.asarray(grey * tone, np.float32)


def fade(image: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """Lift the blacks, lower the whites, unevenly over the picture."""
    black, white = rng.uniform(0.0, 60.0), rng.uniform(190.0, 255.0)
    faded = black + image * ((white - black) / 255.0)
    height, width = image.shape[:2]
    coarse = rng.uniform(-18.0, 18.0, (3, 3)).astype(np.float32)
    cloud = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(faded + np.asarray(cloud, np.float32)[:, :, None], np.float32)


def add_grain(image: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """Film grain: clumps, the same in all channels, strongest in the middle tones."""
    height, width = image.shape[:2]
    noise = rng.standard_normal((height, width), dtype=np.float32)
    clump_px = rng.uniform(0.4, 1.2)
    clumps = np.asarray(cv2.GaussianBlur(noise, (0, 0), clump_px), np.float32)
    clumps *= rng.uniform(3.0, 14.0) / max(float(clumps.std()), 1e-6)
    tones = image.mean(2) / 255.0
    return np.asarray(
        image + (clumps * (0.4 + 2.4 * tones * (1.0 - tones)))[:, :, None], np.float32
    )


def halftone(image: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """The dots of a printed page, softened by the paper."""
    height, width = image.shape[:2]
    pitch, angle = rng.uniform(2.5, 4.5), rng.uniform(0.0, math.pi / 2)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    dots = np.cos(along * 2 * math.pi / pitch) * np.cos(across * 2 * math.pi / pitch)
    strength = rng.uniform(20.0, 70.0)
    printed = image + (dots * strength).astype(np.float32)[:, :, None]
    return np.asarray(cv2.GaussianBlur(printed, (0, 0), rng.uniform(0.5, 1.0)), np.float32)


def scratch(image: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """A few thin lines, light or dark, and specks of dust."""
    height, width = image.shape[:2]
    marked = image.copy()
    for _ in range(int(rng.integers(1, 5))):
        start = rng.uniform(0, (width, height))
        angle, length = rng.uniform(0, math.pi), rng.uniform(0.1, 0.9) * height
        end = start + length * np.array((math.cos(angle), math.sin(angle)))
        level = float(rng.choice((rng.uniform(170, 255), rng.uniform(0, 70))))
        ends = [(round(float(point[0])), round(float(point[1]))) for point in (start, end)]
        cv2.line(marked, ends[0], ends[1], (level,) * 3, 1, cv2.LINE_AA)
    for _ in range(int(rng.integers(0, 25))):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        level = float(rng.choice((230.0, 30.0)))
        cv2.circle(marked, centre, int(rng.integers(1, 3)), (level,) * 3, -1, cv2.LINE_AA)
    opacity = rng.uniform(0.3, 0.9)
    return np.asarray(image + opacity * (marked - image), np.float32)


def _clipped(values: NDArray[np.float32]) -> Image:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
