"""Persons are distinguished; a face that would become another person is not changed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from shared.errors import IdentityTooLow, OptionUnavailable
from tests.worker.engine.small_models import save_model
from worker.engine import FaceOptions, Restorer, load_restorer
from worker.engine.faces.detector import FaceDetector
from worker.engine.faces.identity import (
    SAME_PERSON,
    SAME_PERSON_DISTANCE,
    Embedder,
    identity_similarity,
    load_embedder,
)
from worker.engine.load import load_detector
from worker.imaging.decode import Photo
from worker.training.data.degradations import LIGHT, degrade

pytest.importorskip("dlib", reason="the extra identity is not installed")


def pixels_of(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="module")
def looks(tmp_path_factory: pytest.TempPathFactory) -> FaceDetector:
    import torch

    return load_detector(tmp_path_factory.mktemp("none"), torch.device("cpu"))


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return load_embedder()


@pytest.fixture(scope="module")
def restorers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Restorer]]:
    """Two restorers: ``same`` returns its input, ``noise`` a face of no person."""
    folder = tmp_path_factory.mktemp("models")
    save_model(folder, "same", unchanging=True)
    save_model(folder, "noise")
    made = {
        name: load_restorer(name, models_dir=folder, device="cpu", precision="fp32")
        for name in ("same", "noise")
    }
    yield made
    for restorer in made.values():
        restorer.close()


def test_likeness_is_one_for_the_same_half_at_the_limit_and_never_negative() -> None:
    here = np.zeros(128)
    along = np.eye(128)[0]
    assert identity_similarity(here, here) == 1
    assert identity_similarity(here, along * SAME_PERSON_DISTANCE) == pytest.approx(SAME_PERSON)
    assert identity_similarity(here, along * SAME_PERSON_DISTANCE / 2) == pytest.approx(0.75)
    assert identity_similarity(here, along * 9) == 0


def test_a_person_is_recognised_in_a_worse_photo_and_distinguished_from_another(
    embedder: Embedder, looks: FaceDetector, astronaut: Path, grace_hopper: Path
) -> None:
    sharp, other = pixels_of(astronaut), pixels_of(grace_hopper)
    worse = degrade(sharp, np.random.default_rng(1), LIGHT)
    found = []
    for photo in (sharp, worse, other):
        (face,) = looks.detect(photo, 0.9)
        found.append(embedder.embed(photo, face.landmarks))
    assert identity_similarity(found[0], found[1]) > 0.7
    assert identity_similarity(found[0], found[2]) < SAME_PERSON


def test_an_embedding_does_not_depend_on_rotation_and_size(
    embedder: Embedder, looks: FaceDetector, astronaut: Path
) -> None:
    photo = pixels_of(astronaut)
    (face,) = looks.detect(photo, 0.9)
    upright = embedder.embed(photo, face.landmarks)
    turned = np.ascontiguousarray(np.rot90(photo))
    points = np.stack((face.landmarks[:, 1], photo.shape[1] - 1 - face.landmarks[:, 0]), 1)
    assert identity_similarity(upright, embedder.embed(turned, points)) > 0.98


def test_a_face_of_the_same_person_is_restored_with_its_similarity(
    restorers: dict[str, Restorer], astronaut: Path
) -> None:
    photo = Photo.of_pixels(pixels_of(astronaut))
    (face,) = (
        restorers["same"].restore(photo, FaceOptions(skip_sharp=False, min_identity=0.9)).faces
    )
    assert (face.status, face.reason) == ("restored", None)
    assert face.identity_similarity is not None
    assert face.identity_similarity > 0.95


def test_a_face_that_lost_its_identity_is_kept_and_has_that_reason(
    restorers: dict[str, Restorer], astronaut: Path
) -> None:
    photo = Photo.of_pixels(pixels_of(astronaut))
    done = restorers["noise"].restore(
        photo, FaceOptions(skip_sharp=False, min_identity=SAME_PERSON)
    )
    (face,) = done.faces
    assert (face.status, face.reason) == ("skipped", "identity-too-low")
    assert face.identity_similarity is not None
    assert face.identity_similarity < SAME_PERSON
    np.testing.assert_array_equal(done.photo.pixels, photo.pixels)


def test_a_minimum_of_zero_only_reports_the_similarity_and_the_default_does_not_measure_it(
    restorers: dict[str, Restorer], astronaut: Path
) -> None:
    photo = Photo.of_pixels(pixels_of(astronaut))
    (reported,) = (
        restorers["noise"].restore(photo, FaceOptions(skip_sharp=False, min_identity=0.0)).faces
    )
    assert (reported.status, reported.reason) == ("restored", None)
    assert reported.identity_similarity is not None
    (plain,) = restorers["noise"].restore(photo, FaceOptions(skip_sharp=False)).faces
    assert (plain.status, plain.identity_similarity) == ("restored", None)


def test_the_identity_is_checked_after_strength_is_applied(
    restorers: dict[str, Restorer], astronaut: Path
) -> None:
    photo = Photo.of_pixels(pixels_of(astronaut))
    options = FaceOptions(skip_sharp=False, min_identity=SAME_PERSON, strength=0.1)
    (face,) = restorers["noise"].restore(photo, options).faces
    assert face.status == "restored"


def test_with_strict_a_lost_identity_is_an_error(
    restorers: dict[str, Restorer], astronaut: Path
) -> None:
    photo = Photo.of_pixels(pixels_of(astronaut))
    with pytest.raises(IdentityTooLow, match=r"0\.50 is asked for"):
        restorers["noise"].restore(
            photo, FaceOptions(skip_sharp=False, min_identity=SAME_PERSON, strict=True)
        )


@pytest.mark.parametrize("module", ["dlib", "face_recognition_models"])
def test_without_the_packages_the_error_names_the_command(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # Python then takes it for not installed
    load_embedder.cache_clear()
    with pytest.raises(OptionUnavailable, match="pip install dlib-bin face-recognition-models"):
        load_embedder()
