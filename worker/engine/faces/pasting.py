"""Put restored faces back into the photo, and leave every other pixel as it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.imaging.colorization import LUMA, with_luminance_of
from worker.imaging.decode import Photo, Pixels
from worker.imaging.geometry import Affine, Floats, crop, enlarged, region_of, smooth, uncrop
from worker.imaging.sixteen_bit import rounded

#: Faces whose shorter box side is below this are calmed: they cannot hold what the network draws.
SMALL_FACE_PX = 100


class Paster:
    """Collects restored faces of one photo. Of overlapping faces the larger mask value wins.

    What is pasted is the change, restored minus original crop, brought back to the photo's own
    grid. So detail finer than the crop can hold (film grain, skin in a large photo) is kept rather
    than blurred away by two resamplings, and a network that changes nothing changes nothing.
    """

    def __init__(self, photo: Photo, scale: int = 1, *, only_colour: bool = False) -> None:
        """``photo`` may have been made ``scale`` times as large as the one the faces are from.

        With ``only_colour`` the luminance of each pixel stays, within rounding.
        """
        self._photo, self._scale, self.only_colour = photo, scale, only_colour
        self._original: NDArray[Any] = photo.pixels if photo.deep is None else photo.deep[:, :, :3]
        self._canvas: NDArray[Any] = self._original.copy()
        self._won = np.zeros(photo.pixels.shape[:2], np.uint8)

    @property
    def photo(self) -> Photo:
        """The photo with its faces; with 16 bits where it came with them."""
        deep = self._photo.deep
        if deep is None:
            return replace(self._photo, pixels=self._canvas)
        return replace(
            self._photo,
            pixels=rounded(self._canvas),
            deep=np.concatenate((self._canvas, deep[:, :, 3:]), axis=2),
        )

    def paste(
        self,
        before: Pixels,
        after: Pixels,
        mask: Floats,
        affine: Affine,
        *,
        strength: float = 1.0,
        small: bool = False,
    ) -> None:
        """Paste one face: crops uint8 (S, S, 3), ``mask`` float32 (S, S) 0…1, and their affine.

        Into a picture made larger goes the change against what that picture shows there.
        """
        if self._scale > 1:
            affine = enlarged(affine, self._scale)
            before = crop(self._photo.pixels, affine, len(before))
        region = x0, y0, x1, y1 = region_of(mask, affine, self._canvas.shape)
        if x0 >= x1 or y0 >= y1:
            return
        change = self._change(before, after, small=small)
        weight = uncrop(mask, affine, region).clip(0, 1)
        rank = np.round(weight * 255).astype(np.uint8)
        wins = rank > self._won[y0:y1, x0:x1]
        amount = (strength * weight)[wins][:, None]
        top = _top(self._canvas)
        moved = uncrop(change, affine, region)[wins] * np.float32(top / 255)
        original = self._original[y0:y1, x0:x1][wins].astype(np.float32)
        changed = _values(original, original + amount * moved, top, self.only_colour)
        self._canvas[y0:y1, x0:x1][wins] = changed
        self._won[y0:y1, x0:x1][wins] = rank[wins]

    def _change(self, before: Pixels, after: Pixels, *, small: bool) -> Floats:
        change = after.astype(np.float32) - before.astype(np.float32)
        if self._photo.grey:  # the network would tint it
            change = np.repeat((change @ LUMA)[:, :, None], 3, axis=2)
        return smooth(change) if small else change


def blend(before: Pixels, after: Pixels, strength: float, *, only_colour: bool = False) -> Pixels:
    """The crop that ``strength`` makes of the two, uint8."""
    if strength >= 1 and not only_colour:
        return after
    original = before.astype(np.float32)
    change = after.astype(np.float32) - original
    values = _values(original, original + np.float32(strength) * change, 255, only_colour)
    return values.astype(np.uint8)


def _top(canvas: NDArray[Any]) -> int:
    return int(np.iinfo(canvas.dtype).max)


def _values(original: Floats, changed: Floats, top: int, only_colour: bool) -> Floats:
    if only_colour:
        changed = with_luminance_of(original, changed, top)
    return changed.round().clip(0, top)
