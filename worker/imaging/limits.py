"""What photos are taken. Without numpy, for those who only hand the limits on."""

from __future__ import annotations

from dataclasses import dataclass

from shared.errors import InputTooLarge


@dataclass(frozen=True, slots=True)
class Limits:
    """What is taken: bytes of the file, pixels in all, pixels a side, longer to shorter side."""

    max_bytes: int = 20_000_000
    max_pixels: int = 40_000_000
    min_side_px: int = 16
    max_side_px: int = 16_384
    max_aspect: float = 20.0

    def require_bytes(self, size: int) -> None:
        """Raise InputTooLarge for a file of more bytes."""
        if size > self.max_bytes:
            raise InputTooLarge(f"{size} bytes; {self.max_bytes} are allowed")
