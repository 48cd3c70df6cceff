"""Colour comes to a grey photo, and its luminance stays."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from shared.errors import WeightsInvalid
from tests.worker.engine.small_models import save_model
from worker.engine import FaceOptions, Restorer, load_restorer
from worker.imaging.colorization import LUMA, grey_of, to_be_coloured, with_luminance_of
from worker.imaging.decode import Photo, decode
from worker.imaging.encode import encode
from worker.imaging.limits import Limits
from worker.weights.catalogue import CATALOGUE, COLORIZER
from worker.weights.files import find_entry


def luma(pixels: NDArray[np.generic]) -> NDArray[np.float32]:
    return np.asarray(pixels.astype(np.float32) @ LUMA)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``colour`` is a colouring network of random weights: its colours mean nothing."""
    folder = tmp_path_factory.mktemp("models")
    save_model(folder, "colour", task="colorize")
    return folder


@pytest.fixture(scope="module")
def colourer(folder: Path) -> Iterator[Restorer]:
    made = load_restorer("colour", models_dir=folder, device="cpu", precision="fp32")
    yield made
    made.close()


@pytest.fixture(scope="module")
def grey(astronaut: Path) -> Photo:
    with Image.open(astronaut) as image:
        shown = np.asarray(image.convert("L"))
    return Photo(np.repeat(shown[:, :, None], 3, 2), grey=True)


def test_luminance_is_the_originals_chroma_the_others_wherever_there_is_room() -> None:
    rng = np.random.default_rng(1)
    original, coloured = rng.uniform(0, 255, (2, 2000, 3)).astype(np.float32)
    mixed = with_luminance_of(original, coloured, 255)
    np.testing.assert_allclose(luma(mixed), luma(original), atol=1e-3)
    assert mixed.min() >= -1e-3
    assert mixed.max() <= 255 + 1e-3
    wanted = coloured - luma(coloured)[:, None] + luma(original)[:, None]
    fits = ((wanted >= 0) & (wanted <= 255)).all(1)
    assert fits.any()
    assert not fits.all()
    np.testing.assert_allclose(mixed[fits], wanted[fits], atol=1e-3)


def test_a_colour_without_room_is_paler_not_another() -> None:
    bright, red = np.full((1, 3), 250, np.float32), np.array([[255, 0, 0]], np.float32)
    (mixed,) = with_luminance_of(bright, red, 255)
    chroma, wanted = mixed - luma(mixed), red[0] - luma(red[0])
    assert chroma[0] == pytest.approx(255 - 250, abs=1e-3)
    np.testing.assert_allclose(chroma / chroma[0], wanted / wanted[0], atol=1e-4)


@pytest.mark.parametrize("top", [0.0, 255.0])
def test_black_and_white_take_no_colour(top: float) -> None:
    flat = np.full((1, 3), top, np.float32)
    np.testing.assert_allclose(
        with_luminance_of(flat, np.eye(3, dtype=np.float32)[:1] * 255, 255), flat
    )


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_a_grey_photo_gets_colour_in_its_faces_only_and_keeps_its_luminance(
    colourer: Restorer, grey: Photo, strength: float
) -> None:
    done = colourer.restore(grey, FaceOptions(strength=strength))
    (face,) = done.faces
    assert face.status == "restored"
    x0, y0, x1, y1 = (round(value) for value in face.box)
    inside = done.photo.pixels[y0:y1, x0:x1].astype(int)
    assert np.abs(inside[:, :, 0] - inside[:, :, 2]).mean() > 5
    np.testing.assert_array_equal(done.photo.pixels[-60:], grey.pixels[-60:])
    assert np.abs(luma(done.photo.pixels) - luma(grey.pixels)).max() <= 0.51
    assert face.crop_before is not None
    assert face.crop_after is not None
    assert np.abs(luma(face.crop_after) - luma(face.crop_before)).max() <= 0.51


def test_the_result_is_stored_in_colour_and_a_grey_profile_goes_with_a_warning(
    colourer: Restorer, grey: Photo
) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    grey_profile = profile[:16] + b"GRAY" + profile[20:]
    photo = replace(grey, icc=grey_profile)
    done = colourer.restore(photo, FaceOptions())
    assert not done.photo.grey
    assert done.photo.icc is None
    assert any("profile is for grey" in warning for warning in done.warnings)
    with Image.open(io.BytesIO(encode(done.photo, "png", 95))) as stored:
        assert stored.mode == "RGB"
    assert to_be_coloured(replace(grey, icc=profile)).icc == profile


def test_a_photo_in_colour_is_seen_in_grey_and_told_of(colourer: Restorer, astronaut: Path) -> None:
    photo = decode(astronaut.read_bytes(), Limits())
    done = colourer.restore(photo, FaceOptions())
    assert any("in colour already" in warning for warning in done.warnings)
    assert np.abs(luma(done.photo.pixels) - luma(photo.pixels)).max() <= 0.51
    tinted = replace(photo, pixels=np.roll(photo.pixels, 1, 2))
    assert not np.array_equal(grey_of(tinted.pixels), grey_of(photo.pixels))


def test_an_aligned_crop_is_coloured_whole(colourer: Restorer) -> None:
    shade = np.random.default_rng(2).integers(40, 200, (128, 128, 1)).astype(np.uint8)
    photo = Photo(shade.repeat(3, 2), grey=True)
    pixels = colourer.restore(photo, FaceOptions(aligned=True)).photo.pixels.astype(int)
    coloured = np.abs(pixels.max(2) - pixels.min(2)) > 2
    assert coloured.mean() > 0.9
    assert np.abs(luma(pixels) - shade[:, :, 0]).max() <= 0.51


def test_the_model_says_what_it_is_for(colourer: Restorer, folder: Path) -> None:
    assert colourer.info.task == "colorize"
    assert CATALOGUE[COLORIZER].task == "colorize"
    assert find_entry("facemend-starter", folder).task == "restore"
    save_model(folder, "odd", task="sing")
    with pytest.raises(WeightsInvalid, match="names task 'sing'"):
        find_entry("odd", folder)
