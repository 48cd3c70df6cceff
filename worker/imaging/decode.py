"""Decodes the bytes of a photo, with Pillow only; the limits are checked first.

OpenCV never reads these bytes. Every error of the decoder becomes UnsupportedImage, CorruptImage or
ImageTooManyPixels. ``encode`` is the other direction.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from shared.errors import CorruptImage, FacemendError, ImageTooManyPixels, UnsupportedImage
from worker.imaging import color_space, phone_formats, png, sixteen_bit, tiff
from worker.imaging.coded_pixels import Kept, is_lossless_webp, jpeg_bits, only_pixels
from worker.imaging.color_profiles import fitting, to_rgb
from worker.imaging.limits import Limits
from worker.imaging.resolution import Dpi, dpi_of, dpi_of_exif
from worker.imaging.sixteen_bit import Samples

Pixels = NDArray[np.uint8]
Format = Literal["jpeg", "png", "webp", "bmp", "tiff", "gif", "avif", "heic"]

_FORMATS: dict[str, Format] = {
    "JPEG": "jpeg",
    "MPO": "jpeg",  # several JPEGs in one file; opened by the JPEG plugin
    "PNG": "png",
    "WEBP": "webp",
    "BMP": "bmp",
    "TIFF": "tiff",
    "GIF": "gif",
    **phone_formats.FORMATS,
}
#: The JPEG plugin opens MPO; a phone's formats have a decoder of their own.
_OPENED_BY_ANOTHER = {"MPO", *phone_formats.FORMATS}
_ALLOWED = "JPEG, PNG, WebP, BMP, TIFF and GIF"
_EIGHT_BIT_MODES = frozenset(
    {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"}
)
_PNG_END = b"IEND\xaeB`\x82"
_ORIENTATION_TAG, _ICC_TAG = 0x0112, 34675
_WIDENED = {"L;2": 85, "L;4": 17}  # by how much, by Pillow's name of how samples lie
_ON_THE_SIDE = frozenset({5, 6, 7, 8})
_SEVERAL = "The file holds several frames: only the first one is used."


@dataclass(frozen=True, slots=True)
class Photo:
    """An upright photo: ``pixels``, uint8 RGB (H, W, 3), and what the result has to keep.

    ``alpha`` is uint8 (H, W). ``icc`` is the colour profile of the pixels. ``grey``: the channels
    are equal everywhere and must stay equal. ``warnings`` are sentences for the customer. ``deep``
    is the same photo with 16 bits per channel, uint16 (H, W, 3 or, with alpha, 4), if its file has
    16 bits: networks read ``pixels``, a PNG is made from ``deep``.
    ``dpi`` is the resolution, horizontal and vertical. ``colour_chunks`` are the chunks of a PNG
    that state its colour space; ``icc`` states the same if a profile can. ``lossless``: the file is
    a lossless WebP, so the result must be one. ``coded`` is the original file with its coded pixels
    and without metadata; None if there is no such file.
    Raises UnsupportedImage for arrays of another type or shape.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    icc: bytes | None = None
    grey: bool = False
    format: Format = "png"
    warnings: tuple[str, ...] = ()
    deep: Samples | None = None
    dpi: Dpi | None = None
    colour_chunks: bytes = b""
    lossless: bool = False
    coded: bytes | None = None

    def __post_init__(self) -> None:
        _require_array("pixels", self.pixels, np.uint8, "H, W, 3")
        size = f"{self.pixels.shape[0]}, {self.pixels.shape[1]}"
        if self.alpha is not None:
            _require_array("alpha", self.alpha, np.uint8, size)
        if self.deep is not None:
            _require_array(
                "deep", self.deep, np.uint16, f"{size}, {3 if self.alpha is None else 4}"
            )

    @classmethod
    def of_pixels(cls, pixels: Pixels) -> Self:
        """Return a photo of these pixels alone."""
        return cls(pixels=pixels)


def decode(data: bytes, limits: Limits) -> Photo:
    """Decode the first frame, upright, to 8-bit RGB, and to 16 bits if the file has them.

    Raises InputTooLarge, UnsupportedImage, ImageTooManyPixels (before any pixel is decoded) or
    CorruptImage.
    """
    limits.require_bytes(len(data))
    # The limits replace the cap of Pillow.
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, limits.max_pixels)
    try:
        layout = tiff.layout_of(data) if tiff.begins(data) else None
        if layout:
            limits.require_size(layout.width, layout.height)
        warnings: list[str] = []
        if layout and layout.is_read_here:
            stored = _read_tiff(layout, data, warnings)
        else:
            stored = _read_by_pillow(data, limits, layout, warnings)
        return _photo(stored, data, warnings)
    except (FacemendError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - decoders raise anything; all of it means this
        raise CorruptImage(f"the pixels cannot be decoded: {error}") from None


@dataclass(slots=True)
class _Stored:
    """A picture as its file stores it, not yet upright.

    ``deep`` (H, W, 3 or 4) is there for 16 bits, otherwise ``pixels`` and perhaps ``alpha`` are.
    ``icc`` fits the pixels. ``converted``: the pixels are not in the file's own colours.
    """

    format: Format
    exif: Image.Exif
    orientation: int
    icc: bytes | None
    grey_file: bool
    dpi: Dpi | None
    pixels: NDArray[Any] | None = None
    alpha: NDArray[Any] | None = None
    deep: Samples | None = None
    converted: bool = False
    several: bool = False


def _read_tiff(layout: tiff.Layout, data: bytes, warnings: list[str]) -> _Stored:
    samples = tiff.read_samples(layout, data)
    exif = tiff.exif_of(layout, data)
    if layout.is_first_of_several:
        warnings.append(_SEVERAL)
    space = "GRAY" if layout.is_grey else "RGB"
    stored = _Stored(
        format="tiff",
        exif=exif,
        orientation=_orientation(exif),
        icc=fitting(_bytes_or_none(layout.tags.get(_ICC_TAG)), space, warnings),
        grey_file=layout.is_grey,
        dpi=dpi_of_exif(exif),
    )
    if layout.bits == 16:
        stored.deep = samples
    else:
        stored.pixels = samples[:, :, :3]
        stored.alpha = samples[:, :, 3] if samples.shape[2] == 4 else None
    return stored


def _read_by_pillow(
    data: bytes, limits: Limits, layout: tiff.Layout | None, warnings: list[str]
) -> _Stored:
    image = _open(data, limits)
    limits.require_size(*image.size)
    several = _has_several_frames(image)
    if several:
        warnings.append(_SEVERAL)
    rawmodes = sixteen_bit.rawmodes(image)  # loading forgets them
    _load(image, data)
    exif = _exif(image)
    stored = _Stored(
        format=_FORMATS[image.format or ""],
        exif=exif,
        orientation=_orientation(exif),
        icc=None,
        grey_file=image.mode.startswith(("1", "L", "I;16")),
        dpi=dpi_of(image, exif),
        several=several,
    )
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I;16") or any(";16" in rawmode for rawmode in rawmodes):
        stored.deep = sixteen_bit.read(image, rawmodes, lambda: _open(data, limits))
    if stored.deep is not None:
        image.close()  # large as it is
        stored.icc = fitting(profile, "GRAY" if stored.grey_file else "RGB", warnings)
        return stored
    if layout and layout.bits > 8:
        warnings.append("The file has 16 bits a channel: the result has 8.")
    if isinstance(key := image.info.get("transparency"), int):
        # Pillow widens grey of 2 and 4 bits to 8, but not the level that stands for transparent.
        image.info["transparency"] = key * _WIDENED.get("".join(rawmodes), 1)
    flat = _eight_bit(image)
    stored.converted = flat.mode == "CMYK"
    rgb, stored.icc = to_rgb(flat, profile, warnings, grey=stored.grey_file)
    stored.pixels = np.asarray(rgb)
    stored.alpha = np.asarray(flat.getchannel("A")) if flat.mode == "RGBA" else None
    return stored


def _photo(stored: _Stored, data: bytes, warnings: list[str]) -> Photo:
    found = color_space.chunks_of(data) if stored.format == "png" else {}
    icc = stored.icc or _stated_profile(stored, data, found, warnings)
    turned = stored.orientation
    if stored.deep is not None:
        deep = _upright(stored.deep, turned)
        pixels = sixteen_bit.rounded(deep[:, :, :3])
        alpha = sixteen_bit.rounded(deep[:, :, 3]) if deep.shape[2] == 4 else None
    else:
        deep = None
        pixels = _upright(np.asarray(stored.pixels), turned)
        alpha = None if stored.alpha is None else _upright(stored.alpha, turned)
    dpi = stored.dpi and (stored.dpi[::-1] if turned in _ON_THE_SIDE else stored.dpi)
    kept = None
    if turned == 1 and not stored.converted and not (stored.several and stored.format != "jpeg"):
        kept = only_pixels(data, stored.format, Kept(icc, dpi))
    return Photo(
        pixels=pixels,
        alpha=alpha,
        icc=icc,
        grey=_is_grey(pixels if deep is None else deep),
        format=stored.format,
        warnings=tuple(warnings),
        deep=deep,
        dpi=dpi,
        colour_chunks=b"".join(png.chunk(kind, content) for kind, content in found.items()),
        lossless=stored.format == "webp" and is_lossless_webp(data),
        coded=kept,
    )


def _stated_profile(
    stored: _Stored, data: bytes, found: Mapping[bytes, bytes], warnings: list[str]
) -> bytes | None:
    """A profile of the colours that the file states otherwise than by one."""
    if stored.converted:
        return None
    if stored.format == "bmp" and color_space.is_stated_by_bmp(data):
        warnings.append(color_space.BMP_COLOURS_DROPPED)
    try:
        space = color_space.of_png(found) if found else color_space.of_exif(stored.exif, warnings)
    except Exception:  # noqa: BLE001 - Pillow parses a tag at its first use
        return None
    return space.profile(grey=stored.grey_file) if space else None


def _bytes_or_none(value: object) -> bytes | None:
    return value if isinstance(value, bytes) else None


def _require_array(name: str, array: object, kind: type[np.generic], shape: str) -> None:
    """Raise UnsupportedImage unless it is an array of this type; letters stand for any side."""
    given = array if isinstance(array, np.ndarray) else np.empty(0, object)
    sides = shape.split(", ")
    right = given.ndim == len(sides) and all(
        size > 0 and (side in {"H", "W"} or size == int(side))
        for size, side in zip(given.shape, sides, strict=True)
    )
    if not right or given.dtype != kind:
        raise UnsupportedImage(
            f"{name} is {type(array).__name__} of {given.dtype} {given.shape}; "
            f"{kind.__name__} ({shape}) is read"
        )


def _open(data: bytes, limits: Limits) -> Image.Image:
    if not data:
        raise UnsupportedImage("the file is empty (0 bytes)")
    formats = [*_FORMATS.keys() - _OPENED_BY_ANOTHER]
    if phone_format := phone_formats.kind_of(data):
        here = phone_formats.load() if limits.phone_formats else []
        formats = [name for name in here if phone_formats.FORMATS[name] == phone_format]
        if not formats:
            raise UnsupportedImage(phone_formats.how_to_read(phone_format))
    try:
        return Image.open(io.BytesIO(data), formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooManyPixels(str(error)) from None
    except Exception as error:  # noqa: BLE001 - decoders raise anything; all of it means this
        bits = jpeg_bits(data) if data.startswith(b"\xff\xd8\xff") else None
        if bits not in {None, 8}:
            raise UnsupportedImage(f"JPEG with {bits} bits a channel; 8 are read") from None
        if _looks_like_an_image(data):
            # Pillow's message for an unknown file contains a memory address.
            why = "" if isinstance(error, UnidentifiedImageError) else f": {error}"
            raise CorruptImage(f"the file begins like an image, but cannot be read{why}") from None
        raise UnsupportedImage(f"the content is not an image; {_ALLOWED} are read") from None


def _looks_like_an_image(data: bytes) -> bool:
    starts = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"GIF87a", b"GIF89a")
    webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    bmp = data[:2] == b"BM" and data[6:10] == bytes(4)
    return data.startswith(starts) or webp or bmp or phone_formats.kind_of(data) is not None


def _has_several_frames(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception as error:  # noqa: BLE001 - counting frames parses the file
        raise CorruptImage(f"the frames cannot be counted: {error}") from None


def _load(image: Image.Image, data: bytes) -> None:
    # Pillow is content with a PNG that ends after its last pixel.
    if image.format == "PNG" and _PNG_END not in data:
        raise CorruptImage("the PNG file is cut off before its end")
    image.load()
    # Nor does it mind one whose pixels point into a palette that is not there.
    if image.format == "PNG" and image.mode == "P" and not _has_whole_palette(image):
        raise CorruptImage("the PNG file has no palette, or a damaged one")


def _has_whole_palette(image: Image.Image) -> bool:
    colours = (image.palette.palette if image.palette else None) or b""
    return len(colours) > 0 and len(colours) % 3 == 0


def _exif(image: Image.Image) -> Image.Exif:
    """Empty if it is broken."""
    try:
        return image.getexif()
    except Exception:  # noqa: BLE001 - as any parser of Pillow
        return Image.Exif()


def _orientation(exif: Image.Exif) -> int:
    """EXIF orientation 1…8; a broken EXIF block says nothing."""
    try:
        value = exif.get(_ORIENTATION_TAG, 1)
    except Exception:  # noqa: BLE001 - as any parser of Pillow
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo an EXIF orientation."""
    if orientation in _ON_THE_SIDE:
        array = array.swapaxes(0, 1)
    if orientation in {3, 4, 7, 8}:
        array = array[::-1]
    if orientation in {2, 3, 6, 7}:
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Mode L, RGB, RGBA, CMYK or YCbCr of a loaded image."""
    if image.mode not in _EIGHT_BIT_MODES:
        raise UnsupportedImage(f"pixels of type {image.mode} are not read; save it as 8-bit RGB")
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode == "1":
        return image.convert("L")
    return image.convert("RGB") if image.mode == "P" else image


def _is_grey(pixels: NDArray[Any]) -> bool:
    """Return whether the channels are equal everywhere, as in a grey photo saved in colour."""
    red, green, blue = pixels[:, :, 0], pixels[:, :, 1], pixels[:, :, 2]
    return bool((red == green).all() and (green == blue).all())
