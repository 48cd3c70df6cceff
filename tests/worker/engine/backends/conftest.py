"""A tiny model with random weights, and its artifacts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.worker.engine.conftest import save_tiny_model
from worker.engine.backends.artifact_cache import ArtifactCache
from worker.weights.verification import file_sha256

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny_model(folder)
    return folder / "tiny.safetensors"


@pytest.fixture
def artifacts(tiny_weights: Path, tmp_path: Path) -> ArtifactCache:
    """An empty artifact cache."""
    return ArtifactCache(tmp_path / "exported", tiny_weights, file_sha256(tiny_weights))


@pytest.fixture(scope="session")
def _exported(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> ArtifactCache:
    folder = tmp_path_factory.mktemp("exported")
    artifacts = ArtifactCache(folder, tiny_weights, file_sha256(tiny_weights))
    artifacts.export("onnx")
    artifacts.export("openvino")
    return artifacts


@pytest.fixture
def exported_artifacts(_exported: ArtifactCache, tmp_path: Path) -> ArtifactCache:
    """A cache with both exports and the self-check; a test may damage them."""
    folder = tmp_path / "full"
    folder.mkdir()
    for file in _exported.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return ArtifactCache(folder, _exported.weights, _exported.sha256)
