"""The resolution that a file states, in dots per inch. It says nothing about persons."""

from __future__ import annotations

import math
from typing import Any

from PIL import Image

Dpi = tuple[float, float]

_X, _Y, _UNIT = 282, 283, 296  # EXIF and TIFF tags
_INCH, _CENTIMETRE = 2, 3
_JFIF_UNITS = frozenset({1, 2})  # inch and centimetre
_CENTIMETRES_PER_INCH = 2.54
_LEAST, _MOST = 0.5, 65_535.0  # JFIF holds whole numbers of 16 bits


def dpi_of(image: Image.Image, exif: Image.Exif) -> Dpi | None:
    """Return horizontal and vertical dpi; the statement of the format comes before EXIF."""
    stated = image.info.get("dpi")
    if image.format in {"JPEG", "MPO"} and image.info.get("jfif_unit") not in _JFIF_UNITS:
        stated = None  # Pillow says 72 if EXIF says nothing
    return _sound(stated) or dpi_of_exif(exif)


def dpi_of_exif(exif: Image.Exif) -> Dpi | None:
    """Return what EXIF or TIFF tags state; None if they state nothing."""
    unit = exif.get(_UNIT, _INCH)
    if unit not in {_INCH, _CENTIMETRE}:
        return None
    scale = _CENTIMETRES_PER_INCH if unit == _CENTIMETRE else 1.0
    return _sound((exif.get(_X), exif.get(_Y)), scale)


def exif_with(dpi: Dpi) -> bytes:
    """Return an EXIF block with the resolution alone, for files that have no other place for it."""
    exif = Image.Exif()
    exif[_X], exif[_Y] = dpi
    exif[_UNIT] = _INCH
    return exif.tobytes()


def _sound(stated: Any, scale: float = 1.0) -> Dpi | None:
    try:
        x, y = (float(value) * scale for value in stated)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    whole = all(math.isfinite(value) and _LEAST <= value <= _MOST for value in (x, y))
    return (x, y) if whole else None
