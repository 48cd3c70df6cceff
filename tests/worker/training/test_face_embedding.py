"""The network in torch answers as dlib's own, and lets gradients through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from shared.errors import OptionUnavailable, WeightsInvalid
from worker.engine.faces.identity import load_embedder, network_path
from worker.imaging.geometry import template_points
from worker.training.face_embedding import FaceEmbedding, load_face_embedding


@pytest.fixture(scope="module")
def network() -> FaceEmbedding:
    try:
        return load_face_embedding()
    except OptionUnavailable as error:
        pytest.skip(error.detail)


@pytest.fixture
def chip() -> np.ndarray:
    coarse = np.random.default_rng(1).integers(0, 256, (10, 10, 3), dtype=np.uint8)
    return coarse.repeat(15, 0).repeat(15, 1)


def as_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()


def test_it_answers_as_dlib_does(network: FaceEmbedding, chip: np.ndarray) -> None:
    import dlib

    expected = dlib.face_recognition_model_v1(str(network_path())).compute_face_descriptor(chip)
    np.testing.assert_allclose(network.embed(as_tensor(chip))[0].numpy(), expected, atol=1e-5)


def test_an_aligned_face_is_cut_as_the_identity_guard_cuts_it(network: FaceEmbedding) -> None:
    image = np.random.default_rng(2).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    image = np.asarray(image.repeat(32, 0).repeat(32, 1))
    expected = load_embedder().embed(image, template_points("ffhq", 256))
    found = network(as_tensor(image) / 127.5 - 1)[0].numpy()
    assert np.linalg.norm(found - expected) < 0.1


def test_gradients_reach_the_picture(network: FaceEmbedding) -> None:
    faces = torch.rand(1, 3, 64, 64, requires_grad=True)
    network(faces).square().sum().backward()
    assert faces.grad is not None
    assert faces.grad.abs().max() > 0


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"\x01\x02" * 40])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "network.dat"
    path.write_bytes(content)
    with pytest.raises(WeightsInvalid, match=r"network\.dat"):
        load_face_embedding(path)
