"""A customer's bytes to pixels, by one decoder: Pillow, strict, with caps checked first.

OpenCV never sees these bytes. Whatever goes wrong in the decoder is the file's fault and becomes
UnsupportedImage, CorruptImage or ImageTooManyPixels. ``encoding`` goes the other way.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from shared.errors import CorruptImage, ImageTooManyPixels, UnsupportedImage
from worker.imaging import sixteen_bit
from worker.imaging.color_profiles import fitting, to_rgb
from worker.imaging.limits import Limits
from worker.imaging.sixteen_bit import Samples

Pixels = NDArray[np.uint8]
Format = Literal["jpeg", "png", "webp", "bmp", "tiff", "gif"]

_FORMATS: dict[str, Format] = {
    "JPEG": "jpeg",
    "MPO": "jpeg",  # several JPEGs in one file; opened by the JPEG plugin
    "PNG": "png",
    "WEBP": "webp",
    "BMP": "bmp",
    "TIFF": "tiff",
    "GIF": "gif",
}
_ALLOWED = "JPEG, PNG, WebP, BMP, TIFF and GIF"
_EIGHT_BIT_MODES = frozenset(
    {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"}
)
_PNG_END = b"IEND\xaeB`\x82"
_ORIENTATION_TAG = 0x0112


@dataclass(frozen=True, slots=True)
class Photo:
    """An upright picture: uint8 RGB (H, W, 3) and what has to be kept beside it.

    ``alpha`` is uint8 (H, W); ``icc`` the colour profile the pixels are in; ``grey`` says that the
    channels are equal everywhere and have to stay so; ``warnings`` are sentences for the customer.
    ``deep`` is the same picture with 16 bits a channel, uint16 (H, W, 3 or, with alpha, 4), where
    it came with them: networks look at ``pixels``, what leaves as PNG is ``deep``.
    Raises UnsupportedImage for arrays of any other type or shape, so for floats, finite or not.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    icc: bytes | None = None
    grey: bool = False
    format: Format = "png"
    warnings: tuple[str, ...] = ()
    deep: Samples | None = None

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
        """Bare pixels as a picture."""
        return cls(pixels=pixels)


def decode(data: bytes, limits: Limits) -> Photo:
    """Read the first frame, upright, as 8-bit RGB.

    Raises InputTooLarge, UnsupportedImage, ImageTooManyPixels (before any pixel is decoded) or
    CorruptImage.
    """
    limits.require_bytes(len(data))
    image = _open(data)
    _check_size(image.size, limits)
    warnings = _frame_warnings(image)
    rawmodes = sixteen_bit.rawmodes(image)  # loading forgets them
    _load(image, data)
    orientation = _orientation(image)
    profile = image.info.get("icc_profile")
    deep = _deep(image, rawmodes, data, warnings)
    alpha: NDArray[Any] | None = None
    if deep is not None:
        grey_file = image.mode.startswith("I;16")
        image.close()  # large as it is
        icc = fitting(profile, "GRAY" if grey_file else "RGB", warnings)
        deep = _upright(deep, orientation)
        pixels = sixteen_bit.rounded(deep[:, :, :3])
        alpha = sixteen_bit.rounded(deep[:, :, 3]) if deep.shape[2] == 4 else None
    else:
        flat = _eight_bit(image)
        rgb, icc = to_rgb(flat, profile, warnings)
        pixels = _upright(np.asarray(rgb), orientation)
        if flat.mode == "RGBA":
            alpha = _upright(np.asarray(flat.getchannel("A")), orientation)
    return Photo(
        pixels=pixels,
        alpha=alpha,
        icc=icc,
        grey=_is_grey(pixels if deep is None else deep),
        format=_FORMATS[image.format or ""],
        warnings=tuple(warnings),
        deep=deep,
    )


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


def _open(data: bytes) -> Image.Image:
    if not data:
        raise UnsupportedImage("the file is empty (0 bytes)")
    try:
        return Image.open(io.BytesIO(data), formats=list(set(_FORMATS) - {"MPO"}))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooManyPixels(str(error)) from None
    except Exception as error:  # noqa: BLE001 - decoders raise anything; all of it means this
        if _looks_like_an_image(data):
            # Pillow's words for a file that nobody knows name an address in memory.
            why = "" if isinstance(error, UnidentifiedImageError) else f": {error}"
            raise CorruptImage(f"the file begins like an image, but cannot be read{why}") from None
        raise UnsupportedImage(f"the content is not an image; {_ALLOWED} are read") from None


def _looks_like_an_image(data: bytes) -> bool:
    starts = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"GIF87a", b"GIF89a")
    webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    bmp = data[:2] == b"BM" and data[6:10] == bytes(4)
    return data.startswith(starts) or webp or bmp


def _check_size(size: tuple[int, int], limits: Limits) -> None:
    width, height = size
    short, long = sorted(size)
    if long > limits.max_side_px or width * height > limits.max_pixels:
        raise ImageTooManyPixels(
            f"{width} x {height} px; {limits.max_pixels} px in all and {limits.max_side_px} px a "
            "side are allowed"
        )
    if short < limits.min_side_px:
        raise UnsupportedImage(
            f"{width} x {height} px; the least is {limits.min_side_px} px a side"
        )
    if long > limits.max_aspect * short:
        raise UnsupportedImage(
            f"{width} x {height} px; the longer side may be {limits.max_aspect:g} times the shorter"
        )


def _frame_warnings(image: Image.Image) -> list[str]:
    try:
        several = bool(getattr(image, "is_animated", False))
    except Exception as error:  # noqa: BLE001 - counting frames parses the file
        raise CorruptImage(f"the frames cannot be counted: {error}") from None
    return ["The file holds several frames: only the first one is used."] if several else []


def _load(image: Image.Image, data: bytes) -> None:
    # Pillow is content with a PNG that ends after its last pixel.
    if image.format == "PNG" and _PNG_END not in data:
        raise CorruptImage("the PNG file is cut off before its end")
    try:
        image.load()
    except Exception as error:  # noqa: BLE001 - decoders raise anything; all of it means this
        raise CorruptImage(f"the pixels cannot be decoded: {error}") from None
    # Nor does it mind one whose pixels point into a palette that is not there.
    if image.format == "PNG" and image.mode == "P" and not _has_whole_palette(image):
        raise CorruptImage("the PNG file has no palette, or a damaged one")


def _has_whole_palette(image: Image.Image) -> bool:
    colours = (image.palette.palette if image.palette else None) or b""
    return len(colours) > 0 and len(colours) % 3 == 0


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1…8; a broken EXIF block says nothing."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # noqa: BLE001 - as any parser of Pillow
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo an EXIF orientation."""
    if orientation in {5, 6, 7, 8}:
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


def _deep(
    image: Image.Image, rawmodes: set[str], data: bytes, warnings: list[str]
) -> Samples | None:
    """The 16-bit samples of a loaded image; where some cannot be had, ``warnings`` says so."""
    grey = image.mode.startswith("I;16")
    if not grey and not any(";16" in rawmode or ";12" in rawmode for rawmode in rawmodes):
        return None
    try:
        # A colour that stands for transparent is only known to the 8-bit way.
        keyed = "transparency" in image.info and not grey
        samples = None if keyed else sixteen_bit.read(image, rawmodes, lambda: _open(data))
    except Exception as error:  # noqa: BLE001 - as the first time
        raise CorruptImage(f"the pixels cannot be decoded: {error}") from None
    if samples is None:
        warnings.append("The file has 16 bits a channel: the result has 8.")
    return samples


def _is_grey(pixels: NDArray[Any]) -> bool:
    """Equal channels everywhere: also a black-and-white photo that was saved in colour."""
    red, green, blue = pixels[:, :, 0], pixels[:, :, 1], pixels[:, :, 2]
    return bool((red == green).all() and (green == blue).all())
