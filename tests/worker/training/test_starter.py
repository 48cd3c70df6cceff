"""The model that comes with the package: what its file says, and that it is worth shipping."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from worker.commands.stack.demo_pictures import free_photo
from worker.training.checkpoint import read_generator
from worker.training.data.degradations import RECIPES, degrade
from worker.training.data.photos import Photos, load_photos, to_images, to_tensor
from worker.training.measure.validation import SEED, ValidationSet, measure

ROOT = Path(__file__).parents[3]
STARTER = ROOT / "worker" / "weights" / "bundled" / "facemend-starter.safetensors"
DATA = Path(os.environ.get("FACEMEND_DATA", ROOT.parent / "shared"))


def test_the_file_says_what_serving_has_to_know() -> None:
    with safe_open(STARTER, "pt") as file:
        metadata = file.metadata()
    assert (metadata["name"], metadata["size"]) == ("facemend-starter", "256")
    assert (metadata["template"], metadata["licence"]) == ("ffhq", "Apache-2.0")
    assert STARTER.stat().st_size < 40e6
    config = read_generator(STARTER).config
    assert (config.size, config.finish) == (256, True)


def test_it_brings_unseen_faces_a_decibel_nearer_to_the_original() -> None:
    faces = DATA / "faces" / "val-256.zip"
    if not faces.is_file():
        pytest.skip(f"no photos at {faces}: set FACEMEND_DATA to the folder that holds faces/")
    photos = load_photos(faces, 256)
    some = Photos(photos.names[::7], photos.images[::7])
    known = ValidationSet.of(some)
    after = measure(known.restore(read_generator(STARTER)), some.images)
    assert after.psnr_db > known.before.psnr_db + 1.0
    assert after.ssim > known.before.ssim


def test_it_makes_a_blurred_photo_sharper_in_the_colours_of_the_input() -> None:
    photo = np.asarray(free_photo().crop((146, 20, 306, 180)).resize((256, 256)), np.uint8)
    spoiled = degrade(photo, np.random.default_rng(SEED), RECIPES["x4"])
    with torch.inference_mode():
        restored = to_images(read_generator(STARTER)(to_tensor([spoiled])))[0]
    inside = slice(32, -32), slice(32, -32)
    gains = [gradient_energy(each[inside]) for each in (spoiled, restored)]
    assert gains[1] > 1.15 * gains[0]
    shift = restored[inside].mean((0, 1)) - spoiled[inside].mean((0, 1))
    assert np.abs(shift).max() < 1.0


def gradient_energy(image: NDArray[np.uint8]) -> float:
    down, right = np.gradient(image.mean(axis=2))
    return float((down**2 + right**2).sum())
