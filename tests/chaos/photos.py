"""Photos that tell the restorer of this suite what to do, and prove whose result one is.

The first pixel of a PNG is the order: what, for how long, and how often. The next one is the
photo's serial number. The rest is noise from the serial, so that no two photos are alike; a right
result is the same photo with each value inverted.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE_PX = 24


class Act(IntEnum):
    """What the restorer does before it returns."""

    SLEEP = 1  # reports progress meanwhile
    CRASH = 2  # SIGSEGV
    HANG = 3  # no progress, for ever
    STARVE = 4  # the device has too little memory
    BREAK = 5  # the device's context is broken, as CUDA leaves it after a bad kernel


@dataclass(frozen=True, slots=True)
class Order:
    """``seconds`` 0.0…25.5 before it happens; ``once``: only on the first run of this photo."""

    serial: int
    act: Act = Act.SLEEP
    seconds: float = 0.0
    once: bool = False


def photo(order: Order) -> bytes:
    """The PNG that carries ``order``."""
    file = io.BytesIO()
    Image.fromarray(_pixels(order)).save(file, "PNG")
    return file.getvalue()


def read(pixels: NDArray[np.uint8]) -> Order:
    """The order that a decoded photo carries."""
    act, tenths, once = (int(value) for value in pixels[0, 0])
    high, middle, low = (int(value) for value in pixels[0, 1])
    return Order(high << 16 | middle << 8 | low, Act(act), tenths / 10, bool(once))


def is_result(picture: bytes, order: Order) -> bool:
    """Is ``picture`` what the photo of ``order`` had to become?"""
    with Image.open(io.BytesIO(picture)) as image:
        found = np.asarray(image.convert("RGB"))
    wanted = 255 - _pixels(order)
    return found.shape == wanted.shape and bool((found == wanted).all())


def _pixels(order: Order) -> NDArray[np.uint8]:
    noise = np.random.default_rng(order.serial)
    pixels = noise.integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    pixels[0, 0] = (order.act, round(order.seconds * 10), order.once)
    pixels[0, 1] = (order.serial >> 16 & 255, order.serial >> 8 & 255, order.serial & 255)
    return pixels
