from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from api.jobs.photo_check import check_size, glance
from shared.errors import ImageTooManyPixels, UnsupportedImage


def encoded(
    kind: str, size: tuple[int, int] = (37, 23), mode: str = "RGB", **options: Any
) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind, **options)
    return file.getvalue()


KINDS = {
    "image/jpeg": encoded("JPEG"),
    "image/png": encoded("PNG"),
    "image/gif": encoded("GIF", mode="P"),
    "image/bmp": encoded("BMP"),
    "image/webp": encoded("WEBP"),
}


@pytest.mark.parametrize(("content_type", "data"), KINDS.items())
def test_kind_and_size_are_read_from_the_content(content_type: str, data: bytes) -> None:
    found = glance(data)
    assert (found.content_type, found.size_px) == (content_type, (37, 23))


@pytest.mark.parametrize(
    "data",
    [
        encoded("JPEG", progressive=True),
        encoded("JPEG", exif=b"Exif\0\0" + bytes(3000), comment=b"c" * 500),
        encoded("WEBP", lossless=True),
        encoded("WEBP", mode="RGBA", exif=b"Exif\0\0" + bytes(100)),
        encoded("PNG", mode="1"),
    ],
    ids=["progressive", "long metadata", "lossless", "extended", "one bit"],
)
def test_size_is_found_in_every_dialect(data: bytes) -> None:
    assert glance(data).size_px == (37, 23)


def test_fill_bytes_before_a_marker_are_skipped() -> None:
    data = KINDS["image/jpeg"]
    assert glance(data[:2] + b"\xff" * 500 + data[2:]).size_px == (37, 23)


class Counted(bytes):
    """Bytes that count how often somebody looks at a part of them."""

    looks = 0

    def __getitem__(self, index: Any) -> Any:
        Counted.looks += 1
        return super().__getitem__(index)


@pytest.mark.parametrize(
    "piece",
    [b"\xff", b"\xff\xd0", b"\xff\xe0\0\x02", b"\xff\xe0\0\0", b"\xff" * 900 + b"\xd0"],
    ids=["fill bytes", "bare markers", "empty segments", "no length", "long fill"],
)
def test_the_walk_over_jpeg_markers_looks_at_few_bytes(
    piece: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Counted, "looks", 0)
    data = Counted(b"\xff\xd8" + piece * (20_000_000 // len(piece)))
    assert glance(data).size_px is None
    assert Counted.looks < 2_500


def test_a_top_down_bitmap_has_a_positive_height() -> None:
    data = bytearray(encoded("BMP"))
    data[22:26] = (-23).to_bytes(4, "little", signed=True)
    assert glance(bytes(data)).size_px == (37, 23)


def test_a_tiff_keeps_its_size_to_itself() -> None:
    found = glance(encoded("TIFF"))
    assert (found.content_type, found.size_px) == ("image/tiff", None)


@pytest.mark.parametrize("data", KINDS.values(), ids=KINDS.keys())
def test_no_cut_makes_it_stumble(data: bytes) -> None:
    recognised = 12
    for length in range(recognised, len(data)):
        assert glance(data[:length]).size_px in {None, (37, 23)}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"just text",
        b"<!doctype html><html></html>",
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        b"%PDF-1.7\n",
        b"PK\x03\x04" + bytes(30),
        b"MZ" + bytes(60),
        b"BM is how this letter begins",
        b"\0\0\0\x18ftypheic" + bytes(16),
        b"8BPS\0\1" + bytes(20),
        b"RIFF\x24\0\0\0WAVEfmt ",
    ],
)
def test_what_is_no_image_is_refused_and_told_what_is_taken(data: bytes) -> None:
    with pytest.raises(UnsupportedImage, match="JPEG, PNG, WebP, BMP, TIFF or GIF"):
        glance(data)


def test_a_png_that_begins_with_something_else_tells_no_size() -> None:
    """It is damaged, which the decoder says; what stands there is no size."""
    assert glance(b"\x89PNG\r\n\x1a\n" + b"junk" * 10).size_px is None


@pytest.mark.parametrize("size", [(20_000, 20_000), (1, 500_000), (16_385, 1)])
def test_a_bomb_is_refused_by_its_header(size: tuple[int, int]) -> None:
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"".join(n.to_bytes(4, "big") for n in size)
    with pytest.raises(ImageTooManyPixels, match=str(size[0])):
        check_size(glance(header), max_pixels=40_000_000, max_side_px=16_384)


def test_a_photo_within_the_caps_passes() -> None:
    check_size(glance(KINDS["image/png"]), max_pixels=37 * 23, max_side_px=37)
