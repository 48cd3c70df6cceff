"""Encodes photos, with alpha, colour space and resolution; without EXIF, GPS and comments.

If no pixel changed, the result is the original file with its coded pixels.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from shared.errors import ImageTooManyPixels
from worker.imaging import png
from worker.imaging.color_profiles import stated_space
from worker.imaging.color_space import is_beyond_profiles
from worker.imaging.decode import Photo, Pixels
from worker.imaging.resolution import exif_with
from worker.imaging.xmp_note import PNG_ITXT, XMP_NOTE

OutputFormat = Literal["png", "jpeg", "webp"]

_SIDES_PX = {"webp": 16_383, "jpeg": 65_535}  # as many as the format can say
_JPEG_FULL_COLOUR = 90  # from this quality on, colour is not halved in size
_GAP_PX = 8
_WEBP_EFFORT = 75
_CODED_ANEW = (
    "No pixel was restored, but the {} file is written anew, which changes pixels a little; PNG "
    "does not."
)


def output_format(photo: Photo, wanted: str) -> OutputFormat:
    """Return the format of the result: ``same`` keeps JPEG, PNG and WebP; others become PNG."""
    formats: dict[str, OutputFormat] = {"png": "png", "jpeg": "jpeg", "webp": "webp"}
    return formats.get(photo.format if wanted == "same" else wanted, "png")


def require_room(photo: Photo, wanted: str, scale: int) -> None:
    """Raise ImageTooManyPixels if the format cannot hold the photo ``scale`` times as large."""
    _require_room(output_format(photo, wanted), max(photo.pixels.shape[:2]) * scale)


@dataclass(frozen=True, slots=True)
class Encoded:
    """An encoded photo. ``warnings`` tell the customer what the format could not keep."""

    data: bytes
    format: OutputFormat
    warnings: tuple[str, ...] = ()


def encode_result(before: Photo, after: Photo, wanted: str, quality: int) -> Encoded:
    """Encode ``after``, the restored ``before``; ``wanted`` as in ``output_format``.

    If no pixel changed and the format is the same, the result is the original file with its coded
    pixels, and ``quality`` has no effect. Raises ImageTooManyPixels if the format cannot hold the
    size.
    """
    format_ = output_format(before, wanted)
    warnings = list(_losses(after, format_))
    unchanged = _same_pixels(before, after)
    if unchanged and format_ == before.format and before.coded is not None:
        return Encoded(before.coded, format_, tuple(warnings))
    if unchanged and not _is_exact(after, format_):
        warnings.append(_CODED_ANEW.format(format_))
    data = encode(after, format_, quality, generated=not unchanged)
    return Encoded(data, format_, tuple(warnings))


def encode(
    photo: Photo,
    format: OutputFormat,  # noqa: A002 - its name
    quality: int,
    *,
    generated: bool = False,
) -> bytes:
    """Encode the photo; ``quality`` 1…100 is for JPEG and lossy WebP.

    ``generated``: the file says that a network has drawn a part of the picture (``xmp_note``).


    A grey photo is stored as grey if the format can. JPEG has no alpha, so it shows the photo on
    white. PNG has 16 bits per channel if the photo has; JPEG and WebP have 8. A lossless WebP stays
    lossless. Raises ImageTooManyPixels if the format cannot hold the size.
    """
    _require_room(format, max(photo.pixels.shape[:2]))
    if format == "png" and photo.deep is not None:
        # of a grey picture the last colour, and alpha if there is one
        samples = photo.deep[:, :, 2:] if _stored_as_grey(photo) else photo.deep
        note = png.chunk(b"iTXt", PNG_ITXT) if generated else b""
        return png.sixteen_bit(samples, _png_chunks(photo) + note)
    image = _image(photo, alpha=format != "jpeg")
    options = {"png": _png_options, "jpeg": _jpeg_options, "webp": _webp_options}[format](
        photo, quality
    )
    if generated:
        _add_note(options)
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def _add_note(options: dict[str, Any]) -> None:
    """Add the note to the options of Pillow."""
    if "pnginfo" in options:
        options["pnginfo"].add(b"iTXt", PNG_ITXT)
    else:
        options["xmp"] = XMP_NOTE


def comparison(before: Pixels, after: Pixels) -> Pixels:
    """Return both side by side with a white gap, ``before`` left: uint8 RGB (H, 2W + 8, 3).

    H and W are those of ``after``; a smaller ``before`` is interpolated.
    """
    if before.shape != after.shape:
        size = (after.shape[1], after.shape[0])
        before = np.asarray(Image.fromarray(before).resize(size, Image.Resampling.BICUBIC))
    gap = np.full((before.shape[0], _GAP_PX, 3), 255, np.uint8)
    return np.concatenate((before, gap, after), axis=1)


def _png_options(photo: Photo, _quality: int) -> dict[str, Any]:
    beside = PngInfo()
    for kind, content in png.chunks(png.SIGNATURE + photo.colour_chunks):
        beside.add(kind, content)
    options: dict[str, Any] = {"compress_level": 4, "pnginfo": beside}
    if photo.icc:
        options["icc_profile"] = photo.icc
    if photo.dpi:
        options["dpi"] = photo.dpi
    return options


def _png_chunks(photo: Photo) -> bytes:
    profile = png.profile_chunk(photo.icc) if photo.icc else b""
    resolution = png.resolution_chunk(photo.dpi) if photo.dpi else b""
    return photo.colour_chunks + profile + resolution


def _jpeg_options(photo: Photo, quality: int) -> dict[str, Any]:
    subsampling = 0 if quality >= _JPEG_FULL_COLOUR else 2
    options: dict[str, Any] = {"quality": quality, "subsampling": subsampling}
    if photo.icc:
        options["icc_profile"] = photo.icc
    if photo.dpi:
        options["dpi"] = tuple(max(1, round(value)) for value in photo.dpi)
    return options


def _webp_options(photo: Photo, quality: int) -> dict[str, Any]:
    options: dict[str, Any] = {"quality": quality, "method": 4}
    if photo.lossless:
        # exact keeps the colours of transparent pixels too; quality means effort here
        options |= {"lossless": True, "exact": True, "quality": _WEBP_EFFORT}
    if stated_space(photo.icc) == "RGB":
        options["icc_profile"] = photo.icc
    if photo.dpi:
        options["exif"] = exif_with(photo.dpi)
    return options


def _losses(photo: Photo, format: OutputFormat) -> Iterator[str]:  # noqa: A002 - its name
    """Yield what this format cannot keep of the colour space."""
    if format == "webp" and stated_space(photo.icc) == "GRAY":
        yield "WebP has no colour profile for grey: it was dropped."
    if format != "png" and photo.icc is None and photo.colour_chunks:
        found = dict(png.chunks(png.SIGNATURE + photo.colour_chunks))
        if is_beyond_profiles(found):
            yield f"The colour space (cICP) can only be kept in a PNG: {format} shows it as sRGB."


def _is_exact(photo: Photo, format: OutputFormat) -> bool:  # noqa: A002 - its name
    return format == "png" or (format == "webp" and photo.lossless)


def _same_pixels(one: Photo, other: Photo) -> bool:
    arrays = ((one.pixels, other.pixels), (one.deep, other.deep), (one.alpha, other.alpha))
    return all(a is b or np.array_equal(a, b) for a, b in arrays)  # type: ignore[arg-type]


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
