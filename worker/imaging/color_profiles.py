"""Colour profiles: kept where they fit the pixels, converted away where they cannot stay."""

from __future__ import annotations

import io

from PIL import Image, ImageCms


def to_rgb(
    image: Image.Image, icc: bytes | None, warnings: list[str]
) -> tuple[Image.Image, bytes | None]:
    """8-bit image as RGB, and the profile those RGB values are in (None: sRGB is meant).

    Ink colours are converted, by their own profile if they carry one; all others keep values and
    profile. What had to be changed is appended to ``warnings``.
    """
    if image.mode == "CMYK":
        own = icc if _readable(icc, warnings) == "CMYK" else None
        warnings.append("The photo is in CMYK: the result is in RGB (sRGB).")
        return _ink_to_srgb(image, own), None
    kept = fitting(icc, "GRAY" if image.mode == "L" else "RGB", warnings)
    return image.convert("RGB"), kept


def fitting(icc: bytes | None, wanted: str, warnings: list[str]) -> bytes | None:
    """The profile if it describes ``wanted`` colours; where it is dropped, ``warnings`` says so."""
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
    """``RGB``, ``GRAY``, ``CMYK``…: what the profile describes; None without a readable one."""
    if not icc:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        return str(profile.profile.xcolor_space).strip()
    except (OSError, TypeError, ValueError, ImageCms.PyCMSError):
        return None


def stated_space(icc: bytes | None) -> str | None:
    """The same of a profile that a photo has kept, so one that opens: read off its header.

    No parser of profiles sees it again, for it is a stranger's.
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
