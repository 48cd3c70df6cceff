"""The self-test of the sandbox: a confined child must be able to read one photo of each kind.

The fork server runs it at its start, before it accepts a photo of a customer.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageCms

from shared.process_control import fork, wait_for_exit
from worker.decoder.child import DecoderChild
from worker.imaging.decode import decode
from worker.imaging.limits import Limits

#: Small, because each start of the sandbox waits for it; yet large enough that the memory of the
#: pixels is asked for from the kernel (more than 128 KiB), as it is for photos.
_SIZE = (320, 240)


def failed_sample(child: DecoderChild) -> str | None:
    """Read the sample photos, here and in a confined child; return the kind that fails there.

    Pillow loads its plugins at the first use. They are loaded here, because a confined child cannot
    open their files.
    """
    photos = sample_photos()
    for data in photos.values():
        decode(data, Limits())
    fork_server_pid = os.getpid()
    code = wait_for_exit(fork(lambda: _read_confined(child, fork_server_pid, photos)))
    if code == 0:
        return None
    return f"a {tuple(photos)[code - 1]} photo" if 0 < code <= len(photos) else "any photo"


def _read_confined(child: DecoderChild, fork_server_pid: int, photos: Mapping[str, bytes]) -> int:
    """Return 0, or the number of the first photo that cannot be read."""
    child.confine(fork_server_pid)
    for number, data in enumerate(photos.values(), start=1):
        try:
            decode(data, Limits())
        except Exception:  # noqa: BLE001  # any error means that the sandbox is too narrow
            return number
    return 0


def sample_photos() -> dict[str, bytes]:
    """Return one small photo of each pixel layout, by the name that the log shows."""
    colours = Image.merge("RGB", [Image.linear_gradient("L").resize(_SIZE)] * 3)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    rotated = Image.Exif()
    rotated[0x0112] = 6
    sixteen_bit = Image.linear_gradient("L").resize(_SIZE).convert("I").convert("I;16")
    tagged = {"icc_profile": profile, "exif": rotated}
    return {
        "JPEG": _file(colours, "JPEG", progressive=True, **tagged),
        "CMYK JPEG": _file(colours.convert("CMYK"), "JPEG"),
        "MPO": _file(colours, "MPO", save_all=True, append_images=[colours]),
        "PNG": _file(colours, "PNG", **tagged),
        "PNG with alpha": _file(colours.convert("RGBA"), "PNG"),
        "PNG with a palette": _file(colours.quantize(8), "PNG", transparency=0),
        "16-bit PNG": _file(sixteen_bit, "PNG"),
        "WebP": _file(colours, "WEBP", quality=80, **tagged),
        "animated WebP": _file(
            colours.convert("RGBA"), "WEBP", lossless=True, save_all=True, append_images=[colours]
        ),
        "BMP": _file(colours, "BMP"),
        "GIF": _file(colours.quantize(8), "GIF", save_all=True, append_images=[colours]),
        "TIFF": _file(colours, "TIFF", compression="tiff_lzw", **tagged),
        "16-bit TIFF": _file(sixteen_bit, "TIFF", compression="tiff_adobe_deflate"),
        "JPEG in TIFF": _file(colours, "TIFF", compression="jpeg"),
    }


def _file(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()
