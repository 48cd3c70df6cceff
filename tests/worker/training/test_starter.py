"""The model that comes with the package: what its file says, and that it is worth shipping."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from safetensors import safe_open

from worker.training.checkpoint import read_generator
from worker.training.data.photos import Photos, load_photos
from worker.training.measure.validation import ValidationSet, measure

ROOT = Path(__file__).parents[3]
STARTER = ROOT / "worker" / "weights" / "bundled" / "facemend-starter.safetensors"
DATA = Path(os.environ.get("FACEMEND_DATA", ROOT.parent / "shared"))


def test_the_file_says_what_serving_has_to_know() -> None:
    with safe_open(STARTER, "pt") as file:
        metadata = file.metadata()
    assert (metadata["name"], metadata["size"]) == ("facemend-starter", "256")
    assert (metadata["template"], metadata["licence"]) == ("ffhq", "Apache-2.0")
    assert STARTER.stat().st_size < 40e6
    assert read_generator(STARTER).config.size == 256


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
