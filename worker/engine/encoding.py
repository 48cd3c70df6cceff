"""Pixels to bytes. Only pixels, alpha and colour profile go in: no EXIF, GPS, XMP or comment."""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
from PIL import Image

from shared.errors import ImageTooManyPixels
from worker.engine.colours import profile_space
from worker.engine.images import Photo, Pixels

OutputFormat = Literal["png", "jpeg", "webp"]

_WEBP_SIDE_PX = 16_383
_JPEG_FULL_COLOUR = 90  # from this quality on, colour is not halved in size
_GAP_PX = 8


def output_format(photo: Photo, wanted: str) -> OutputFormat:
    """``same`` keeps JPEG, PNG and WebP and makes PNG of the rest."""
    formats: dict[str, OutputFormat] = {"png": "png", "jpeg": "jpeg", "webp": "webp"}
    return formats.get(photo.format if wanted == "same" else wanted, "png")


def encode(photo: Photo, format: OutputFormat, quality: int) -> bytes:  # noqa: A002 - its name
    """The picture as a file; ``quality`` 1…100 is for JPEG and WebP.

    A grey picture is stored as grey where the format can; JPEG, which has no alpha, shows the
    picture on white. Raises ImageTooManyPixels where the format cannot hold the size.
    """
    height, width = photo.pixels.shape[:2]
    if format == "webp" and max(height, width) > _WEBP_SIDE_PX:
        raise ImageTooManyPixels(f"WebP holds {_WEBP_SIDE_PX} px a side; ask for PNG or JPEG")
    image = _image(photo, alpha=format != "jpeg")
    options: dict[str, Any] = {
        "png": {"compress_level": 4},
        "jpeg": {"quality": quality, "subsampling": 0 if quality >= _JPEG_FULL_COLOUR else 2},
        "webp": {"quality": quality, "method": 4},
    }[format]
    if photo.icc and (format != "webp" or profile_space(photo.icc) == "RGB"):
        options["icc_profile"] = photo.icc
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def comparison(before: Pixels, after: Pixels) -> Pixels:
    """Both side by side with a white gap, ``before`` left: uint8 RGB (H, 2W + 8, 3)."""
    gap = np.full((before.shape[0], _GAP_PX, 3), 255, np.uint8)
    return np.concatenate((before, gap, after), axis=1)


def _image(photo: Photo, *, alpha: bool) -> Image.Image:
    colours = Image.fromarray(photo.pixels)
    if photo.alpha is not None:
        mask = Image.fromarray(photo.alpha)
        if alpha:
            colours.putalpha(mask)
        else:
            colours = Image.composite(colours, Image.new("RGB", colours.size, "white"), mask)
    # A grey picture in an RGB profile stays RGB: without the profile its tones would shift.
    if photo.grey and profile_space(photo.icc) != "RGB":
        return colours.convert("LA" if colours.mode == "RGBA" else "L")
    return colours
