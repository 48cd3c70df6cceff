"""Colour for a grey photo: its luminance stays, the network's chroma comes to it.

Luminance is Rec. 601's luma of the stored values, as JPEG and Pillow count it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from worker.imaging.color_profiles import stated_space
from worker.imaging.decode import Photo, Pixels
from worker.imaging.geometry import Floats

LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def grey_of(pixels: Pixels) -> Pixels:
    """The luminance alone, in three equal channels."""
    luma = (pixels.astype(np.float32) @ LUMA).round().astype(pixels.dtype)
    return np.repeat(luma[..., None], 3, axis=-1)


def with_luminance_of(original: Floats, coloured: Floats, top: float) -> Floats:
    """Values (…, 3) with the luminance of ``original`` and the chroma of ``coloured``.

    Where that colour would leave 0…``top``, it is made paler, for clipping would change luminance.
    """
    luma = (original @ LUMA)[..., None].clip(0, top)
    chroma = coloured - (coloured @ LUMA)[..., None]
    room = np.where(chroma > 0, top - luma, luma)
    share = np.divide(room, np.abs(chroma), out=np.ones_like(chroma), where=np.abs(chroma) > room)
    return np.asarray(luma + share.min(-1, keepdims=True) * chroma, np.float32)


def to_be_coloured(photo: Photo) -> Photo:
    """The photo as one that may take colour; what that costs it is in its warnings."""
    warnings = list(photo.warnings)
    icc = photo.icc
    if not photo.grey:
        warnings.append("The photo is in colour already: the colours of its faces were replaced.")
    if stated_space(icc) == "GRAY":
        warnings.append("The colour profile is for grey, the result is not: it was dropped.")
        icc = None
    return replace(photo, grey=False, icc=icc, warnings=tuple(warnings))
