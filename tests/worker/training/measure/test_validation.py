"""A validation is fixed by photos and seed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from worker.engine.gpen.networks import Generator, GpenConfig
from worker.training.data.photos import Photos, load_photos
from worker.training.identity_start import start_from_identity
from worker.training.measure.validation import (
    ValidationSet,
    contact_sheet,
    degrade_all,
    measure,
    restore_all,
    write_png,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for number in range(3):
        coarse = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (32, 32), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(tmp_path / "photos" / f"{number}.png"), image)
    return tmp_path / "photos"


@pytest.fixture
def photos(folder: Path) -> Photos:
    return load_photos(folder, 32)


@pytest.fixture
def generator() -> Generator:
    """Answers its input."""
    model = Generator(GpenConfig(32, 32, 2, 0.0625))
    start_from_identity(model)
    return model


def test_spoiled_photos_are_always_the_same_but_each_in_its_own_way(photos: Photos) -> None:
    twice = [np.stack(degrade_all(photos)) for _ in range(2)]
    assert np.array_equal(*twice)
    same = Photos(photos.names, (photos.images[0],) * 3)
    first, second, _ = degrade_all(same)
    assert not np.array_equal(first, second)


def test_restoring_in_batches_changes_nothing(photos: Photos, generator: Generator) -> None:
    images = list(photos.images)
    one, all_at_once = (restore_all(generator, images, batch=size) for size in (1, 8))
    assert len(one) == len(all_at_once) == 3
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(one, all_at_once, strict=True)) <= 1


def test_a_generator_that_changes_nothing_gains_nothing(
    photos: Photos, generator: Generator
) -> None:
    known = ValidationSet.of(photos)
    restored = known.restore(generator)
    after = measure(restored, photos.images)
    assert after.psnr_db == pytest.approx(known.before.psnr_db, abs=0.05)
    assert after.ssim == pytest.approx(known.before.ssim, abs=0.01)
    rows = known.rows(restored)
    assert [row.shape for row in rows] == [(32, 96, 3)] * 3
    assert np.array_equal(rows[1][:, 64:], photos.images[1])


def test_a_contact_sheet_is_filled_up_with_black(photos: Photos) -> None:
    sheet = contact_sheet(list(photos.images), columns=2)
    assert sheet.shape == (64, 64, 3)
    assert sheet[32:, 32:].max() == 0


def test_a_sheet_is_written_in_rgb(tmp_path: Path) -> None:
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    write_png(red, tmp_path / "out" / "red.png")
    with Image.open(tmp_path / "out" / "red.png") as image:
        assert image.getpixel((1, 1)) == (255, 0, 0)
