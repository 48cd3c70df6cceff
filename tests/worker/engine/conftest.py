"""Photos made in code, and restorers small enough for a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from worker.engine.backends.torch_backend import Network
from worker.engine.faces.detector import FaceDetector
from worker.engine.gpen.config import GpenConfig
from worker.engine.gpen.networks import build_generator
from worker.engine.load import load_detector
from worker.engine.restoration import ModelInfo
from worker.engine.restorer import Restorer

CPU = torch.device("cpu")


class Mapped(nn.Module):
    """A generator that does one thing to every pixel; 128 px."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.config = GpenConfig(128, 128, 1, 0.25)
        self._change = change

    def forward(self, x: Tensor, *, seed: int = 0) -> Tensor:
        return self._change(x)


def unchanged(x: Tensor) -> Tensor:
    return x.clone()


def white(x: Tensor) -> Tensor:
    return torch.ones_like(x)


def save_tiny_model(folder: Path) -> None:
    """Write ``tiny.safetensors``: GPEN of 32 px with random weights."""
    torch.manual_seed(0)
    state = build_generator(GpenConfig(32, 32, 1, 0.125)).state_dict()
    tensors = {key: tensor.clone().contiguous() for key, tensor in state.items()}
    save_file(tensors, folder / "tiny.safetensors", metadata={"template": "ffhq"})


@pytest.fixture(scope="session")
def detector() -> FaceDetector:
    return load_detector(Path("no-such-folder"), CPU)


@pytest.fixture
def restorer_doing(detector: FaceDetector) -> Iterator[Callable[..., Restorer]]:
    """Make a restorer whose network does what it is told; closed after the test."""
    made = []

    def make(change: Callable[[Tensor], Tensor], max_batch: int = 4) -> Restorer:
        network = Network(Mapped(change), CPU, "fp32")  # type: ignore[arg-type]
        info = ModelInfo("test", "0" * 64, 128, "own", "ffhq", "fp32", "torch")
        made.append(Restorer(network, detector, info, max_batch=max_batch, max_batch_wait_ms=1))
        return made[-1]

    yield make
    for restorer in made:
        restorer.close()


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds ``tiny``: GPEN of 32 px with random weights, a file of the operator's own."""
    folder = tmp_path_factory.mktemp("models")
    save_tiny_model(folder)
    return folder


@pytest.fixture(scope="session")
def astronaut_pixels(astronaut: Path) -> NDArray[np.uint8]:
    with Image.open(astronaut) as image:
        return np.asarray(image.convert("RGB"))
