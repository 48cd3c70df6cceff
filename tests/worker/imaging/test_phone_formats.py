"""AVIF and HEIC: read where the caller asks for them, refused in words elsewhere."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.errors import CorruptImage, UnsupportedImage
from worker.decoder import Decoder
from worker.decoder.photo_arrays import photo_of
from worker.imaging.decode import decode
from worker.imaging.limits import Limits

FILES = Path(__file__).parents[2] / "data" / "photos"
AVIF, HEIC = FILES / "gradient.avif", FILES / "gradient.heic"
PHONE = Limits(phone_formats=True)


def gradient() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The picture in both files: uint8 RGB (48, 64, 3)."""
    y, x = np.mgrid[0:48, 0:64]
    return np.stack([x * 4, y * 5, (x + y) * 2], 2).astype(np.uint8)


PHOTOS = [(AVIF.read_bytes(), "avif"), (HEIC.read_bytes(), "heic")]


@pytest.mark.parametrize(("data", "kind"), PHOTOS, ids=["avif", "heic"])
def test_a_photo_of_a_phone_is_read(data: bytes, kind: str) -> None:
    photo = decode(data, PHONE)
    assert photo.format == kind
    assert np.abs(photo.pixels.astype(int) - gradient()).max() <= 12


@pytest.mark.parametrize(("data", "kind"), PHOTOS, ids=["avif", "heic"])
def test_it_is_read_in_a_confined_process_too(data: bytes, kind: str) -> None:
    with Decoder(PHONE) as decoder, decoder.decode(data) as decoded:
        photo = photo_of(decoded)
    assert photo.format == kind
    np.testing.assert_array_equal(photo.pixels, decode(data, PHONE).pixels)


@pytest.mark.parametrize(("data", "kind"), PHOTOS, ids=["avif", "heic"])
def test_the_service_refuses_it_and_says_what_to_do(data: bytes, kind: str) -> None:
    with pytest.raises(UnsupportedImage, match=f"{kind.upper()} is not read here: save .* as JPEG"):
        decode(data, Limits())


def test_without_the_extra_heic_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UnsupportedImage, match=r"facemend\[heif\]"):
        decode(HEIC.read_bytes(), PHONE)


@pytest.mark.parametrize(("data", "kind"), PHOTOS, ids=["avif", "heic"])
def test_a_cut_file_is_corrupt(data: bytes, kind: str) -> None:
    with pytest.raises(CorruptImage):
        decode(data[: len(data) // 2], PHONE)


def test_a_turned_photo_is_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = io.BytesIO()
    Image.fromarray(gradient()).save(turned, "AVIF", exif=exif.tobytes())
    assert decode(turned.getvalue(), PHONE).pixels.shape == (64, 48, 3)


def test_text_that_begins_like_a_box_is_no_photo() -> None:
    with pytest.raises(UnsupportedImage):
        decode(b"\0\0\0\x18ftypmp42isom", PHONE)
