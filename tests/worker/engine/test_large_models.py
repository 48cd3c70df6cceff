"""GPEN of 1024 px and the super-resolving form, narrow and at random weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.worker.engine.small_models import save_model
from worker.engine import FaceOptions, Restorer, load_restorer
from worker.engine.gpen.networks import GpenConfig
from worker.imaging.decode import Photo
from worker.weights.catalogue import GPEN_LICENCE
from worker.weights.files import load_state

#: As wide below as the published ones are, times this.
NARROW = 1 / 32
SUPER_RESOLVING = GpenConfig(64, 256, 1, 0.0625)


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restorer]:
    """Sees 64 px and answers 256."""
    folder = tmp_path_factory.mktemp("models")
    save_model(folder, "larger", SUPER_RESOLVING)
    made = load_restorer("larger", models_dir=folder, device="cpu", precision="fp32", max_batch=4)
    yield made
    made.close()


@pytest.fixture
def three_faces(astronaut: Path) -> Photo:
    with Image.open(astronaut) as image:
        one = np.asarray(image.convert("RGB"))[:260, 100:400]
    return Photo.of_pixels(np.concatenate((one, one[:, ::-1], np.roll(one, 40, 2)), 1))


def test_the_form_of_1024_px_restores_a_photo(tmp_path: Path, astronaut: Path) -> None:
    """As the file is published: a torch checkpoint, the generator under g_ema."""
    size = 1024
    own = save_model(tmp_path, "own", GpenConfig(size, size, 2, NARROW))
    torch.save({"g_ema": load_state(own)}, tmp_path / f"GPEN-BFR-{size}.pt")
    restorer = load_restorer(
        "gpen-bfr-1024",
        models_dir=tmp_path,
        device="cpu",
        precision="fp32",
        accepted_licences=[GPEN_LICENCE],
    )
    with Image.open(astronaut) as image:
        photo = Photo.of_pixels(np.asarray(image.convert("RGB")))
    (face,) = restorer.restore(photo, FaceOptions(skip_sharp=False)).faces
    restorer.close()
    assert (restorer.info.size_px, restorer.info.template) == (size, "gpen")
    assert face.status == "restored"
    assert face.crop_after is not None
    assert face.crop_after.shape == (size, size, 3)
    assert (tmp_path / f"GPEN-BFR-{size}.pt.sha256").is_file(), "trusted once, then pinned"


def test_the_super_resolving_form_answers_larger_than_it_sees(
    larger: Restorer, three_faces: Photo
) -> None:
    done = larger.restore(three_faces, FaceOptions(skip_sharp=False))
    assert larger.info.size_px == 256
    for face in done.faces:
        assert face.crop_before is not None
        assert face.crop_after is not None
        assert face.crop_before.shape == face.crop_after.shape == (256, 256, 3)
    assert done.photo.pixels.shape == three_faces.pixels.shape


def test_its_noise_belongs_to_the_seed_not_to_batch_or_turn(
    larger: Restorer, three_faces: Photo
) -> None:
    """Three faces together and each alone: the same, but for the last bit of batched sums."""
    together = larger.restore(three_faces, FaceOptions(skip_sharp=False, seed=7)).faces
    assert len(together) == 3
    for index, face in enumerate(together):
        alone = larger.restore(
            three_faces, FaceOptions(skip_sharp=False, seed=7, faces=(index,))
        ).faces[index]
        assert alone.crop_after is not None
        assert face.crop_after is not None
        assert np.abs(alone.crop_after.astype(int) - face.crop_after).max() <= 1
    again = larger.restore(three_faces, FaceOptions(skip_sharp=False, seed=7)).faces
    np.testing.assert_array_equal(again[0].crop_after, together[0].crop_after)
    other = larger.restore(three_faces, FaceOptions(skip_sharp=False, seed=8)).faces
    assert (other[0].crop_after != together[0].crop_after).any()


def test_without_noise_every_seed_draws_the_same(larger: Restorer, three_faces: Photo) -> None:
    one, other = (
        larger.restore(
            three_faces, FaceOptions(skip_sharp=False, seed=seed, noise_scale=0.0)
        ).photo.pixels
        for seed in (1, 2)
    )
    np.testing.assert_array_equal(one, other)
