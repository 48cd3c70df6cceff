"""Faces are restored from the photo and pasted into the larger background, in the same place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from shared.errors import ImageTooManyPixels
from tests.worker.engine.conftest import save_tiny_model
from worker.engine import FaceOptions, Restoration, Restorer, load_restorer
from worker.engine.load_enlarger import load_enlarger
from worker.imaging.decode import Photo
from worker.imaging.geometry import crop, enlarged, similarity, template_points

Told = tuple[Restoration, list[tuple[object, ...]]]
KEPT = FaceOptions(detection_threshold=0.5, skip_sharp=False)
X2 = replace(KEPT, background="x2")


@pytest.fixture(scope="module")
def restorer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restorer]:
    """A restorer that replaces faces by noise (32 px) and refuses results over 20,000 pixels."""
    folder = tmp_path_factory.mktemp("models")
    save_tiny_model(folder)
    made = load_restorer("tiny", models_dir=folder, precision="fp32", max_output_pixels=20_000)
    yield made
    made.close()


@pytest.fixture(scope="module")
def photo(astronaut: Path) -> Photo:
    """48 x 51 px around one face."""
    with Image.open(astronaut) as image:
        part = image.convert("RGB").crop((144, 30, 314, 190))
    return Photo(np.asarray(part.resize((51, 48), Image.Resampling.BOX)))


@pytest.fixture(scope="module")
def background(photo: Photo) -> NDArray[np.uint8]:
    """The photo twice as large, faces and all."""
    enlarger = load_enlarger(Path("no-such-folder"), torch.device("cpu"), "fp32")
    return enlarger.enlarge(photo, 2, lambda *_: None).pixels


@pytest.fixture(scope="module")
def enlarged_photo(restorer: Restorer, photo: Photo) -> Told:
    reported: list[tuple[object, ...]] = []
    return restorer.restore(photo, X2, lambda *step: reported.append(step)), reported


def changed(after: NDArray[np.uint8], before: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return (after != before).any(2)


def test_only_the_face_differs_from_the_enlarged_background(
    restorer: Restorer,
    photo: Photo,
    background: NDArray[np.uint8],
    enlarged_photo: Told,
) -> None:
    kept = restorer.restore(photo, KEPT)
    done = enlarged_photo[0]
    assert [face.status for face in done.faces] == ["restored"]
    where_small = changed(kept.photo.pixels, photo.pixels).repeat(2, 0).repeat(2, 1)
    where = changed(done.photo.pixels, background)
    assert 0.05 < where.mean() < 0.75
    assert (where & where_small).sum() > 0.9 * (where | where_small).sum()


def test_the_record_stays_in_pixels_of_the_photo(
    restorer: Restorer,
    photo: Photo,
    enlarged_photo: Told,
) -> None:
    kept = restorer.restore(photo, KEPT).faces[0]
    done = enlarged_photo[0].faces[0]
    assert (done.box, done.landmarks, done.score) == (kept.box, kept.landmarks, kept.score)
    assert kept.crop_before is not None
    assert done.crop_before is not None
    assert (done.crop_before == kept.crop_before).all()


def test_the_result_names_the_background_that_was_used(
    enlarged_photo: Told,
) -> None:
    done, reported = enlarged_photo
    assert done.background is not None
    assert (done.background.scale, done.background.averaged) == (2, True)
    assert set(done.timings_ms) == {"detect", "enlarge", "restore", "paste"}
    stages = list(dict.fromkeys(step[0] for step in reported))
    assert stages == ["detecting", "enlarging", "restoring", "pasting"]
    assert sum(step[0] == "enlarging" for step in reported) == 24  # each of 23 blocks, and the end
    assert ("enlarging", 48 * 51, 48 * 51) in reported


def test_strength_0_leaves_the_enlarged_background(
    restorer: Restorer, photo: Photo, background: NDArray[np.uint8]
) -> None:
    options = replace(X2, strength=0)
    assert (restorer.restore(photo, options).photo.pixels == background).all()


def test_a_result_that_is_too_large_is_refused_before_any_work(
    restorer: Restorer, photo: Photo
) -> None:
    reported: list[tuple[object, ...]] = []
    with pytest.raises(ImageTooManyPixels, match="204 x 192 px"):
        restorer.restore(photo, FaceOptions(background="x4"), lambda *step: reported.append(step))
    assert reported == []


def test_a_photo_without_a_face_is_enlarged_too(restorer: Restorer) -> None:
    done = restorer.restore(Photo(np.full((16, 20, 3), 90, np.uint8)), X2)
    assert done.faces == ()
    assert done.photo.pixels.shape == (32, 40, 3)
    assert done.warnings == ("No face was found: the picture is enlarged, nothing else.",)


def test_the_affine_of_a_larger_photo_shows_the_same_crop() -> None:
    y, x = np.mgrid[0:60, 0:80].astype(np.float32)
    small = np.stack((x, y, x + y), 2) + 20
    y, x = (np.mgrid[0:180, 0:240].astype(np.float32) + 0.5) / 3 - 0.5
    large = np.stack((x, y, x + y), 2) + 20
    landmarks = template_points("ffhq", 30) + np.array((25, 15))
    affine = similarity(landmarks, template_points("ffhq", 40))
    shown = crop(small, affine, 40)  # type: ignore[arg-type]  # floats show it more finely
    again = crop(large, enlarged(affine, 3), 40)  # type: ignore[arg-type]
    # A 32nd of a pixel is the finest step of the interpolation; half a pixel of ours would be 0.6.
    assert np.abs(shown - again)[4:-4, 4:-4].max() < 0.2
