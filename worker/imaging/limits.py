"""Which sizes of photos are accepted. Without numpy, for those who only hand the limits on."""

from __future__ import annotations

from dataclasses import dataclass

from shared.errors import InputTooLarge
from shared.photo_size import require_size


@dataclass(frozen=True, slots=True)
class Limits:
    """What is accepted: bytes of the file, pixels in all, pixels a side, longer to shorter side.

    ``phone_formats``: AVIF and HEIC, too, if their decoders are installed.
    """

    max_bytes: int = 20_000_000
    max_pixels: int = 40_000_000
    min_side_px: int = 16
    max_side_px: int = 16_384
    max_aspect: float = 20.0
    phone_formats: bool = False

    def require_bytes(self, size: int) -> None:
        """Raise InputTooLarge for a file of more bytes."""
        if size > self.max_bytes:
            raise InputTooLarge(f"{size} bytes; {self.max_bytes} are allowed")

    def require_size(self, width: int, height: int) -> None:
        """Raise ImageTooManyPixels or UnsupportedImage for a picture of another size."""
        require_size(
            width,
            height,
            max_pixels=self.max_pixels,
            min_side_px=self.min_side_px,
            max_side_px=self.max_side_px,
            max_aspect=self.max_aspect,
        )
