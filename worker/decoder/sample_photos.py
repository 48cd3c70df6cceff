"""Small photos, one of each way that pixels are kept: to warm the decoder and to rehearse with."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image, ImageCms

_SIZE = (640, 480)


def photos() -> dict[str, bytes]:
    """Files by what they are called in a log."""
    colours = Image.merge("RGB", [Image.linear_gradient("L").resize(_SIZE)] * 3)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = Image.linear_gradient("L").resize(_SIZE).convert("I").convert("I;16")
    tagged = {"icc_profile": profile, "exif": turned}
    return {
        "JPEG": _file(colours, "JPEG", progressive=True, **tagged),
        "CMYK JPEG": _file(colours.convert("CMYK"), "JPEG"),
        "MPO": _file(colours, "MPO", save_all=True, append_images=[colours]),
        "PNG": _file(colours, "PNG", **tagged),
        "PNG with alpha": _file(colours.convert("RGBA"), "PNG"),
        "PNG with a palette": _file(colours.quantize(8), "PNG", transparency=0),
        "16-bit PNG": _file(deep, "PNG"),
        "WebP": _file(colours, "WEBP", quality=80, **tagged),
        "animated WebP": _file(
            colours.convert("RGBA"), "WEBP", lossless=True, save_all=True, append_images=[colours]
        ),
        "BMP": _file(colours, "BMP"),
        "GIF": _file(colours.quantize(8), "GIF", save_all=True, append_images=[colours]),
        "TIFF": _file(colours, "TIFF", compression="tiff_lzw", **tagged),
        "16-bit TIFF": _file(deep, "TIFF", compression="tiff_adobe_deflate"),
        "JPEG in TIFF": _file(colours, "TIFF", compression="jpeg"),
    }


def _file(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()
