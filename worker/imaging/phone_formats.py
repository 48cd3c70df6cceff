"""AVIF and HEIC, the formats of phones. The command line reads them, the service does not."""

from __future__ import annotations

import importlib.util
from typing import Literal

from PIL import features

PhoneFormat = Literal["avif", "heic"]
#: Pillow's name → ours.
FORMATS: dict[str, PhoneFormat] = {"AVIF": "avif", "HEIF": "heic"}
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevm", b"hevs"}


def load() -> list[str]:
    """Load the decoders that are installed; return Pillow's names of their formats.

    A confined process cannot open files, so its parent loads them.
    """
    names = []
    if features.check("avif"):
        from PIL import AvifImagePlugin  # noqa: PLC0415  # not in every build of Pillow

        AvifImagePlugin.DEFAULT_MAX_THREADS = 1
        names.append("AVIF")
    if importlib.util.find_spec("pi_heif"):
        import pi_heif  # noqa: PLC0415  # the extra ``heif``

        pi_heif.options.DECODE_THREADS = 1
        pi_heif.register_heif_opener()
        names.append("HEIF")
    return names


def kind_of(data: bytes) -> PhoneFormat | None:
    """Recognize a file by the brand in its first box (ISO/IEC 14496-12, 4.3)."""
    if data[4:8] != b"ftyp":
        return None
    if data[8:12] in _AVIF_BRANDS:
        return "avif"
    return "heic" if data[8:12] in _HEIC_BRANDS else None


def how_to_read(kind: PhoneFormat) -> str:
    """Say what to do with a file that is not read here."""
    extra = " or run pip install 'facemend[heif]'" if kind == "heic" else ""
    return f"{kind.upper()} is not read here: save the photo as JPEG or PNG{extra}"
