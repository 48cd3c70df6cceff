"""Photos come from folders and archives alike, and unusable ones are refused by name."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from shared.errors import DatasetError
from worker.training.data.photos import load_photos, to_images, to_tensor


def photo(level: int, size: int = 32) -> bytes:
    """A PNG that is `level` in red, with a gradient in green."""
    image = np.zeros((size, size, 3), np.uint8)
    image[:, :, 2] = level
    image[:, :, 1] = np.linspace(0, 255, size)
    return cv2.imencode(".png", image)[1].tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for number in range(3):
        (tmp_path / "photos" / "more" / f"{number}.png").write_bytes(photo(60 * number))
    (tmp_path / "photos" / "LICENSE").write_text("not an image")
    return tmp_path / "photos"


@pytest.fixture
def archive(folder: Path) -> Path:
    path = folder.parent / "photos.zip"
    with zipfile.ZipFile(path, "w") as target:
        for file in sorted(folder.rglob("*.*"), reverse=True):
            target.write(file, file.relative_to(folder))
    return path


def test_a_folder_and_an_archive_of_it_hold_the_same_photos(folder: Path, archive: Path) -> None:
    one, other = load_photos(folder, 32), load_photos(archive, 32)
    assert one.names == other.names == ("more/0.png", "more/1.png", "more/2.png")
    assert all(np.array_equal(a, b) for a, b in zip(one.images, other.images, strict=True))


def test_photos_are_rgb_and_brought_to_size(folder: Path) -> None:
    photos = load_photos(folder, 16)
    assert (len(photos), photos.size) == (3, 16)
    assert photos.images[1].shape == (16, 16, 3)
    assert abs(int(photos.images[1][0, 0, 0]) - 60) < 2
    assert load_photos(folder, 64).images[0].shape == (64, 64, 3)


def test_a_photo_that_is_much_too_small_is_refused(folder: Path) -> None:
    with pytest.raises(DatasetError, match=r"0\.png is 32 px: too small to be a sharp 256 px face"):
        load_photos(folder, 256)


def test_images_survive_the_way_to_tensors_and_back(folder: Path) -> None:
    images = list(load_photos(folder, 32).images)
    assert all(
        np.array_equal(a, b) for a, b in zip(to_images(to_tensor(images)), images, strict=True)
    )


def test_out_of_range_values_are_clamped() -> None:
    assert to_images(torch.full((1, 3, 2, 2), 1.5))[0].max() == 255
    assert to_images(torch.full((1, 3, 2, 2), -9.0))[0].max() == 0


def test_unusable_photos_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no photos at"):
        load_photos(tmp_path / "absent", 32)
    with pytest.raises(DatasetError, match="holds no image"):
        load_photos(tmp_path, 32)
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match=r"broken\.png cannot be read"):
        load_photos(tmp_path, 32)
    with pytest.raises(DatasetError, match="neither a folder nor a ZIP"):
        load_photos(tmp_path / "broken.png", 32)


def test_photos_that_are_not_square_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "wide.png"), np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(DatasetError, match=r"wide\.png is 30 x 20"):
        load_photos(tmp_path, 32)
