"""Pixels to bytes. Only pixels, alpha and colour profile go in: no EXIF, GPS, XMP or comment."""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
from PIL import Image

from shared.errors import ImageTooManyPixels
from worker.imaging import sixteen_bit
from worker.imaging.color_profiles import stated_space
from worker.imaging.decode import Photo, Pixels

OutputFormat = Literal["png", "jpeg", "webp"]

_SIDES_PX = {"webp": 16_383, "jpeg": 65_535}  # as many as the format can say
_JPEG_FULL_COLOUR = 90  # from this quality on, colour is not halved in size
_GAP_PX = 8


def output_format(photo: Photo, wanted: str) -> OutputFormat:
    """``same`` keeps JPEG, PNG and WebP and makes PNG of the rest."""
    formats: dict[str, OutputFormat] = {"png": "png", "jpeg": "jpeg", "webp": "webp"}
    return formats.get(photo.format if wanted == "same" else wanted, "png")


def require_room(photo: Photo, wanted: str, scale: int) -> None:
    """Raise ImageTooManyPixels where the format cannot hold the photo ``scale`` times as large."""
    _require_room(output_format(photo, wanted), max(photo.pixels.shape[:2]) * scale)


def encode(photo: Photo, format: OutputFormat, quality: int) -> bytes:  # noqa: A002 - its name
    """The picture as a file; ``quality`` 1…100 is for JPEG and WebP.

    A grey picture is stored as grey where the format can; JPEG, which has no alpha, shows the
    picture on white. PNG has 16 bits a channel where the photo has; the others know 8.
    Raises ImageTooManyPixels where the format cannot hold the size.
    """
    _require_room(format, max(photo.pixels.shape[:2]))
    if format == "png" and photo.deep is not None:
        # of a grey picture the last colour, and alpha if there is one
        samples = photo.deep[:, :, 2:] if _stored_as_grey(photo) else photo.deep
        return sixteen_bit.png(samples, photo.icc)
    image = _image(photo, alpha=format != "jpeg")
    options: dict[str, Any] = {
        "png": {"compress_level": 4},
        "jpeg": {"quality": quality, "subsampling": 0 if quality >= _JPEG_FULL_COLOUR else 2},
        "webp": {"quality": quality, "method": 4},
    }[format]
    if photo.icc and (format != "webp" or stated_space(photo.icc) == "RGB"):
        options["icc_profile"] = photo.icc
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def comparison(before: Pixels, after: Pixels) -> Pixels:
    """Both side by side with a white gap, ``before`` left: uint8 RGB (H, 2W + 8, 3).

    H and W are those of ``after``; a smaller ``before`` is interpolated.
    """
    if before.shape != after.shape:
        size = (after.shape[1], after.shape[0])
        before = np.asarray(Image.fromarray(before).resize(size, Image.Resampling.BICUBIC))
    gap = np.full((before.shape[0], _GAP_PX, 3), 255, np.uint8)
    return np.concatenate((before, gap, after), axis=1)


def _require_room(format: str, side_px: int) -> None:  # noqa: A002 - its name
    if side_px > _SIDES_PX.get(format, side_px):
        raise ImageTooManyPixels(
            f"{format} holds {_SIDES_PX[format]} px a side and the result has {side_px}: ask for "
            "PNG, or a smaller background"
        )


def _image(photo: Photo, *, alpha: bool) -> Image.Image:
    colours = Image.fromarray(photo.pixels)
    if photo.alpha is not None:
        mask = Image.fromarray(photo.alpha)
        if alpha:
            colours.putalpha(mask)
        else:
            colours = Image.composite(colours, Image.new("RGB", colours.size, "white"), mask)
    if _stored_as_grey(photo):
        return colours.convert("LA" if colours.mode == "RGBA" else "L")
    return colours


def _stored_as_grey(photo: Photo) -> bool:
    # A grey picture in an RGB profile stays RGB: without the profile its tones would shift.
    return photo.grey and stated_space(photo.icc) != "RGB"
