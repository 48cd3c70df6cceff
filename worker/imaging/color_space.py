"""Colour spaces that a file states without an ICC profile, made into one.

EXIF: DCF 2.0 (Adobe RGB is ColorSpace 65535 with interoperability R03), and white point,
primaries and gamma. PNG: cICP, sRGB, gAMA and cHRM, in this order of precedence (PNG, third
edition, 13.13). Profiles: ICC.1:2001-04, matrix and tone curve.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from worker.imaging import png

Xy = tuple[float, float]

# EXIF tags.
_EXIF_IFD, _INTEROP_IFD = 34665, 40965
_WHITE_POINT, _PRIMARIES, _TRANSFER, _COLOR_SPACE, _GAMMA, _INTEROP_INDEX = (
    318,
    319,
    301,
    40961,
    42240,
    1,
)
_SRGB_VALUE, _ADOBE_VALUE, _UNCALIBRATED = 1, 2, 65535

_D65: Xy = (0.3127, 0.329)
_DCI: Xy = (0.314, 0.351)
_C: Xy = (0.31, 0.316)
_BT709 = ((0.64, 0.33), (0.3, 0.6), (0.15, 0.06))
_ADOBE = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
_NTSC = ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08))
_PAL = ((0.64, 0.33), (0.29, 0.6), (0.15, 0.06))
_SMPTE_C = ((0.63, 0.34), (0.31, 0.595), (0.155, 0.07))
_FILM = ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049))
_BT2020 = ((0.708, 0.292), (0.17, 0.797), (0.131, 0.046))
_P3 = ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06))
#: Colour primaries and their white by code (ITU-T H.273, table 2).
_H273_PRIMARIES: dict[int, tuple[tuple[Xy, Xy, Xy], Xy]] = {
    1: (_BT709, _D65),
    4: (_NTSC, _C),
    5: (_PAL, _D65),
    6: (_SMPTE_C, _D65),
    7: (_SMPTE_C, _D65),
    8: (_FILM, _C),
    9: (_BT2020, _D65),
    11: (_P3, _DCI),
    12: (_P3, _D65),
}
_ADOBE_GAMMA = 563 / 256  # Adobe RGB (1998) Color Image Encoding, 4.3.1.2
_SRGB_LIKE_GAMMA = 2.2
_CURVE_POINTS = 1024
_BMP_V4_BYTES = 108
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_SAME_XY, _SAME_GAMMA = 0.004, 0.05
_GAMMAS = (0.1, 10.0)  # beyond these a file is damaged

UNCALIBRATED = (
    "The file says that its colours are not sRGB, and not what they are: they are shown as sRGB."
)
BMP_COLOURS_DROPPED = "The colour space of the BMP file is not kept: its colours are shown as sRGB."
TONE_CURVE_DROPPED = "The file has a tone curve (TransferFunction), which is not kept."


def _from_srgb(value: float) -> float:
    """IEC 61966-2-1."""
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def _from_bt709(value: float) -> float:
    """ITU-R BT.709-6, 1.2, the other way round."""
    return value / 4.5 if value < 0.081 else ((value + 0.099) / 1.099) ** (1 / 0.45)


#: Transfer characteristics by code (ITU-T H.273, table 3), as gamma or curve.
_H273_CURVES: dict[int, float | Callable[[float], float]] = {
    1: _from_bt709,
    4: 2.2,
    5: 2.8,
    6: _from_bt709,
    8: 1.0,
    13: _from_srgb,
    14: _from_bt709,
    15: _from_bt709,
}


@dataclass(frozen=True, slots=True)
class ColorSpace:
    """Where the primaries and white lie (CIE x, y), and from stored values to light.

    ``curve`` is a gamma, or a function from 0…1 to 0…1.
    """

    primaries: tuple[Xy, Xy, Xy] = _BT709
    white: Xy = _D65
    curve: float | Callable[[float], float] = _from_srgb
    name: str = "Colours of the photo"

    @property
    def is_srgb(self) -> bool:
        """sRGB, as near as files say it."""
        points = np.subtract((*self.primaries, self.white), (*_BT709, _D65))
        if isinstance(self.curve, float):
            same_curve = abs(self.curve - _SRGB_LIKE_GAMMA) < _SAME_GAMMA
        else:
            same_curve = self.curve is _from_srgb
        return same_curve and bool(np.abs(points).max() < _SAME_XY)

    def profile(self, *, grey: bool) -> bytes:
        """An ICC profile of it; for grey pictures its tone curve alone."""
        return _profile(self, grey=grey)


ADOBE_RGB = ColorSpace(_ADOBE, _D65, _ADOBE_GAMMA, "Compatible with Adobe RGB (1998)")


def of_exif(exif: Image.Exif, warnings: list[str]) -> ColorSpace | None:
    """What EXIF or TIFF tags state; None for sRGB and for nothing.

    What they state and cannot be kept is appended to ``warnings``.
    """
    inner = exif.get_ifd(_EXIF_IFD)
    stated = inner.get(_COLOR_SPACE)
    if stated == _SRGB_VALUE:
        return None
    interop: Mapping[int, Any] = exif.get_ifd(_INTEROP_IFD) if _INTEROP_IFD in inner else {}
    index = interop.get(_INTEROP_INDEX, "")
    if stated == _ADOBE_VALUE or (isinstance(index, str) and index.startswith("R03")):
        return ADOBE_RGB
    if _TRANSFER in exif:
        warnings.append(TONE_CURVE_DROPPED)
    measured = _of_points(exif, inner)
    if measured is None and stated == _UNCALIBRATED:
        warnings.append(UNCALIBRATED)
    return measured


def _of_points(exif: Image.Exif, inner: Mapping[int, Any]) -> ColorSpace | None:
    white, points = exif.get(_WHITE_POINT), exif.get(_PRIMARIES)
    if not isinstance(white, tuple) or not isinstance(points, tuple):
        return None
    return _valid([float(value) for value in (*white, *points)], float(inner.get(_GAMMA, 2.2)))


def of_png(found: Mapping[bytes, bytes]) -> ColorSpace | None:
    """What the colour chunks of a PNG state; None for sRGB, nothing, and what no profile can say.

    ``found``: the content of each.
    """
    if b"cICP" in found:
        return _of_h273(found[b"cICP"])
    if b"sRGB" in found or not {b"gAMA", b"cHRM"} & found.keys():
        return None
    points = [*_D65, *(value for xy in _BT709 for value in xy)]
    if len(found.get(b"cHRM", b"")) == 32:
        points = [value / 100_000 for value in struct.unpack(">8I", found[b"cHRM"])]
    gamma = int.from_bytes(found.get(b"gAMA", b""), "big")
    space = _valid(points, 100_000 / gamma if gamma else _SRGB_LIKE_GAMMA)
    return space if gamma or space is None else replace(space, curve=_from_srgb)


def is_stated_by_bmp(data: bytes) -> bool:
    """Return whether a BMP file states colours other than sRGB (BITMAPV4HEADER, BITMAPV5HEADER)."""
    header_bytes = int.from_bytes(data[14:18], "little")
    kind = data[70:74][::-1]
    calibrated = kind == bytes(4) and any(data[74:110])
    return header_bytes >= _BMP_V4_BYTES and (calibrated or kind in {b"MBED", b"LINK"})


def is_beyond_profiles(found: Mapping[bytes, bytes]) -> bool:
    """A PNG's cICP states colours, such as HDR, that only a PNG can hold."""
    content = found.get(b"cICP")
    return content is not None and not _is_known(content)


def _is_known(content: bytes) -> bool:
    if len(content) != 4:
        return False
    primaries, curve, matrix, full_range = content
    return bool(
        primaries in _H273_PRIMARIES and curve in _H273_CURVES and not matrix and full_range
    )


def _of_h273(content: bytes) -> ColorSpace | None:
    if not _is_known(content):
        return None
    primaries, white = _H273_PRIMARIES[content[0]]
    space = ColorSpace(primaries, white, _H273_CURVES[content[1]])
    return None if space.is_srgb else space


def _valid(points: list[float], gamma: float) -> ColorSpace | None:
    """The space of white, red, green, blue (x, y each) if there is one; None also for sRGB."""
    sound = len(points) == 8 and all(0 <= value <= 1 for value in points)
    if not sound or not _GAMMAS[0] <= gamma <= _GAMMAS[1]:
        return None
    white, red, green, blue = zip(points[::2], points[1::2], strict=True)
    space = ColorSpace((red, green, blue), white, gamma)
    if white[1] == 0 or abs(np.linalg.det(_xyz_columns((red, green, blue)))) < 1e-6:
        return None
    return None if space.is_srgb else space


def _xyz_columns(points: tuple[Xy, ...]) -> Any:
    return np.array([(x, y, 1 - x - y) for x, y in points]).T


def _matrix(space: ColorSpace) -> Any:
    """Columns: XYZ of red, green and blue, adapted to D50 (Bradford; ICC.1:2010 annex E)."""
    columns = _xyz_columns(space.primaries)
    x, y = space.white
    white = np.array([x / y, 1.0, (1 - x - y) / y])
    to_xyz = columns * np.linalg.solve(columns, white)
    gain = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    return np.linalg.inv(_BRADFORD) @ np.diag(gain) @ _BRADFORD @ to_xyz


def _profile(space: ColorSpace, *, grey: bool) -> bytes:
    name = space.name.encode("ascii")
    described = b"desc\0\0\0\0" + struct.pack(">I", len(name) + 1) + name + bytes(1 + 8 + 3 + 67)
    curve = _curve_tag(space.curve)
    tags = {
        b"desc": described,
        b"cprt": b"text\0\0\0\0No copyright, use freely\0",
        b"wtpt": _xyz_tag(_D50),
    }
    if grey:
        tags[b"kTRC"] = curve
    else:
        matrix = _matrix(space)
        for index, colour in enumerate(b"rgb"):
            tags[bytes([colour]) + b"XYZ"] = _xyz_tag(matrix[:, index])
            tags[bytes([colour]) + b"TRC"] = curve
    return _assembled(tags, b"GRAY" if grey else b"RGB ")


def _xyz_tag(xyz: Any) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65_536) for value in xyz))


def _curve_tag(curve: float | Callable[[float], float]) -> bytes:
    head = b"curv\0\0\0\0"
    if isinstance(curve, float):
        return head + struct.pack(">IH", 1, round(curve * 256))
    steps = [round(curve(i / (_CURVE_POINTS - 1)) * 65_535) for i in range(_CURVE_POINTS)]
    return head + struct.pack(f">I{_CURVE_POINTS}H", _CURVE_POINTS, *steps)


def _assembled(tags: Mapping[bytes, bytes], space: bytes) -> bytes:
    at, directory, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        directory += name + struct.pack(">II", at + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(
        ">I4sI4s4s4s6H4s4s",
        at + len(body),
        b"",
        0x0210_0000,
        b"mntr",
        space,
        b"XYZ ",
        *(2026, 1, 1, 0, 0, 0),
        b"acsp",
        b"",
    )
    return header.ljust(68, b"\0") + _xyz_tag(_D50)[8:] + bytes(128 - 80) + directory + body


def chunks_of(data: bytes) -> dict[bytes, bytes]:
    """The content of a PNG's colour chunks."""
    return {kind: content for kind, content in png.chunks(data) if kind in png.COLOUR_CHUNKS}
