"""A tiny model of random weights, and what is kept of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.worker.engine.conftest import save_tiny_model
from worker.engine.backends.artifact_cache import Shelf
from worker.weights.files import file_sha256

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny_model(folder)
    return folder / "tiny.safetensors"


@pytest.fixture
def shelf(tiny_weights: Path, tmp_path: Path) -> Shelf:
    """Empty."""
    return Shelf(tmp_path / "exported", tiny_weights, file_sha256(tiny_weights))


@pytest.fixture(scope="session")
def _exported(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    folder = tmp_path_factory.mktemp("exported")
    shelf = Shelf(folder, tiny_weights, file_sha256(tiny_weights))
    shelf.export("onnx")
    shelf.export("openvino")
    return shelf


@pytest.fixture
def full_shelf(_exported: Shelf, tmp_path: Path) -> Shelf:
    """Holds both exports and the proof; a test may spoil them."""
    folder = tmp_path / "full"
    folder.mkdir()
    for file in _exported.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return Shelf(folder, _exported.weights, _exported.sha256)
