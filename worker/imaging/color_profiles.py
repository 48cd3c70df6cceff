"""Colour profiles: kept if they fit the pixels; CMYK is converted to sRGB."""

from __future__ import annotations

import io

from PIL import Image, ImageCms


def to_rgb(
    image: Image.Image, icc: bytes | None, warnings: list[str], *, grey: bool
) -> tuple[Image.Image, bytes | None]:
    """Return an 8-bit image as RGB, and the profile of these RGB values (None: sRGB).

    CMYK is converted, with its own profile if it has one. Other images keep their values, and the
    profile if it fits: for grey if the file is ``grey``, else for RGB. Changes are appended to
    ``warnings``.
    """
    if image.mode == "CMYK":
        own = icc if _readable(icc, warnings) == "CMYK" else None
        warnings.append("The photo is in CMYK: the result is in RGB (sRGB).")
        return _ink_to_srgb(image, own), None
    kept = fitting(icc, "GRAY" if grey else "RGB", warnings)
    return image.convert("RGB"), kept


def fitting(icc: bytes | None, wanted: str, warnings: list[str]) -> bytes | None:
    """Return the profile if it describes ``wanted`` colours; if it is dropped, add a warning."""
    space = _readable(icc, warnings)
    if space not in {None, wanted}:
        warnings.append(f"The colour profile is for {space}, the pixels are not: it was dropped.")
    return icc if space == wanted else None


def _readable(icc: bytes | None, warnings: list[str]) -> str | None:
    space = profile_space(icc)
    if icc and space is None:
        warnings.append("The colour profile is damaged and was dropped.")
    return space


def profile_space(icc: bytes | None) -> str | None:
    """Return what the profile describes: ``RGB``, ``GRAY``, ``CMYK``…; None if it is unreadable."""
    if not icc:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        return str(profile.profile.xcolor_space).strip()
    except (OSError, TypeError, ValueError, ImageCms.PyCMSError):
        return None


def stated_space(icc: bytes | None) -> str | None:
    """Return the same from the header of a profile that the decoder has checked.

    The profile is untrusted, so it is parsed in the decoder child only.
    """
    return icc[16:20].decode("latin-1").strip() if icc else None


def _ink_to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    if icc is None:
        return image.convert("RGB")
    source, target = ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
    try:
        converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except ImageCms.PyCMSError:  # a profile that opens, but only describes the way back
        return image.convert("RGB")
    return converted or image.convert("RGB")
