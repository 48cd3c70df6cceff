"""Enlarges a whole photo two or four times: colours, alpha, grey photos and 16 bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.errors import ImageTooManyPixels, OptionUnavailable
from worker.engine.results import BackgroundUsed
from worker.imaging.colorization import LUMA
from worker.imaging.decode import Photo
from worker.imaging.sixteen_bit import rounded

if TYPE_CHECKING:
    from worker.engine.background.upscaler import OnPixels, Upscaler

#: The default limit of the result; larger results are refused before any work.
MAX_PIXELS = 100_000_000


@dataclass(frozen=True, slots=True)
class LoadedUpscaler:
    """An upscaler, and the name, hash and precision of its weights."""

    upscaler: Upscaler
    name: str
    sha256: str
    precision: str


class PhotoEnlarger:
    """Enlarges photos with the upscaler that ``load`` returns for a scale.

    It is thread-safe if ``load`` is. If an upscaler enlarges by four and the scale is two, its
    output is averaged down by two.
    """

    def __init__(
        self, load: Callable[[int], LoadedUpscaler], *, max_pixels: int = MAX_PIXELS
    ) -> None:
        self._load, self._max_pixels = load, max_pixels

    def prepare(self, photo: Photo, scale: int) -> BackgroundUsed | None:
        """Load and name the weights for this scale; return None for scale 1.

        Raises ImageTooManyPixels, or ModelUnavailable if weights are missing or wrong.
        """
        if scale == 1:
            return None
        height, width = (side * scale for side in photo.pixels.shape[:2])
        if height * width > self._max_pixels:
            raise ImageTooManyPixels(
                f"background x{scale} makes {width} x {height} px of this photo; "
                f"{self._max_pixels} px in all are allowed: ask for a smaller background (x2 or "
                "keep), or send a smaller photo"
            )
        loaded = self._load(scale)
        return BackgroundUsed(
            name=loaded.name,
            sha256=loaded.sha256,
            precision=loaded.precision,
            scale=scale,
            averaged=loaded.upscaler.scale > scale,
        )

    def enlarge(self, photo: Photo, scale: int, on_pixels: OnPixels) -> Photo:
        """Return the photo ``scale`` times as large, with its alpha, its grey and its 16 bits.

        Raises OutOfMemory, what ``prepare`` raises, and what ``on_pixels`` raises.
        """
        if self.prepare(photo, scale) is None:
            return photo
        if photo.dpi:  # the print stays as large as it was
            photo = replace(photo, dpi=(photo.dpi[0] * scale, photo.dpi[1] * scale))
        upscaler = self._load(scale).upscaler
        average = upscaler.scale // scale
        source = photo.pixels if photo.deep is None else photo.deep[:, :, :3]
        colours = upscaler.upscale(source, average=average, on_pixels=on_pixels)
        if photo.grey:  # the network tints what it draws
            _make_grey(colours)
        if photo.deep is None:
            alpha = None if photo.alpha is None else _enlarge_plane(photo.alpha, scale)
            return replace(photo, pixels=colours, alpha=alpha)
        if photo.alpha is None:
            return replace(photo, pixels=rounded(colours), deep=colours)
        plane = _enlarge_plane(photo.deep[:, :, 3], scale)
        deep = np.concatenate((colours, plane[:, :, None]), axis=2)
        return replace(photo, pixels=rounded(colours), alpha=rounded(plane), deep=deep)


def no_enlarger() -> PhotoEnlarger:
    """Return an enlarger that accepts scale 1 only and else raises OptionUnavailable."""

    def refuse(scale: int) -> LoadedUpscaler:
        raise OptionUnavailable(f"background x{scale} needs a restorer that was loaded with it")

    return PhotoEnlarger(refuse)


def _make_grey(pixels: NDArray[Any]) -> None:
    """Make the pixels grey in place, row by row, because the picture may be large."""
    for row in pixels:
        row[:] = np.round(row @ LUMA).astype(pixels.dtype)[:, None]


def _enlarge_plane(plane: NDArray[Any], scale: int) -> NDArray[Any]:
    size = (plane.shape[1] * scale, plane.shape[0] * scale)
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_CUBIC), plane.dtype)
