"""A result with generated pixels says so in its metadata; an unchanged photo does not."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.provenance.source_type import COMPOSITE
from worker.imaging.decode import Photo
from worker.imaging.encode import encode_result

BEFORE = Photo.of_pixels(np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8))


def note_in(data: bytes) -> dict[str, Any]:
    """Return the XMP description that Pillow reads, another reader than our writer."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    if packet is None:
        return {}
    text = packet if isinstance(packet, str) else packet.decode()
    return {"source": COMPOSITE in text, "text": text}


@pytest.mark.parametrize("wanted", ["png", "jpeg", "webp"])
def test_a_result_with_restored_faces_says_that_it_is_a_composite(wanted: str) -> None:
    after = dataclasses.replace(BEFORE, pixels=255 - BEFORE.pixels)
    note = note_in(encode_result(BEFORE, after, wanted, 90).data)
    assert note["source"]
    assert "DigitalSourceType" in note["text"]


def test_a_png_of_16_bits_says_it_too() -> None:
    before = dataclasses.replace(BEFORE, deep=np.zeros((40, 50, 3), np.uint16))
    after = dataclasses.replace(before, deep=np.ones((40, 50, 3), np.uint16))
    assert note_in(encode_result(before, after, "png", 90).data)["source"]


@pytest.mark.parametrize("wanted", ["png", "jpeg", "webp"])
def test_a_photo_in_which_nothing_was_restored_says_nothing(wanted: str) -> None:
    assert note_in(encode_result(BEFORE, BEFORE, wanted, 90).data) == {}
