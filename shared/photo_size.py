"""Which widths and heights of photos are accepted: one rule for the API and for the decoder."""

from __future__ import annotations

from shared.errors import ImageTooManyPixels, UnsupportedImage


def require_size(
    width: int,
    height: int,
    *,
    max_pixels: int,
    min_side_px: int,
    max_side_px: int,
    max_aspect: float,
) -> None:
    """Raise ImageTooManyPixels for a photo that is too large.

    Raise UnsupportedImage for one that is too small, or whose sides differ by more than
    ``max_aspect`` times.
    """
    short, long = sorted((width, height))
    if long > max_side_px or width * height > max_pixels:
        raise ImageTooManyPixels(
            f"{width} x {height} px; at most {max_pixels} px in total and {max_side_px} px per "
            "side are accepted"
        )
    if short < min_side_px:
        raise UnsupportedImage(f"{width} x {height} px; the least is {min_side_px} px per side")
    if long > max_aspect * short:
        raise UnsupportedImage(
            f"{width} x {height} px; the longer side may be {max_aspect:g} times the shorter"
        )
