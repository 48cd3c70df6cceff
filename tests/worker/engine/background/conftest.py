"""Small networks, and the real one from its package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from worker.engine.background.rrdbnet import RRDBConfig, RRDBNet
from worker.engine.background.upscaler import Upscaler
from worker.weights.catalogue import CATALOGUE

CPU = torch.device("cpu")
PACKAGED = CATALOGUE["realesrgan-x4plus-ncnn"].path(Path("nowhere"))


@pytest.fixture(autouse=True)
def _one_thread(one_torch_thread: None) -> None:
    """Every test here runs a small network."""


def tiny_network(fold: int = 1, blocks: int = 1) -> RRDBNet:
    """Random weights, large enough that each pixel depends on those around it."""
    torch.manual_seed(3)
    network = RRDBNet(RRDBConfig(features=8, growth=4, blocks=blocks, fold=fold))
    for name, conv in network.convolutions():
        torch.nn.init.orthogonal_(conv.weight, gain=4 if ".conv5" in name else 1.3)
    with torch.inference_mode():  # few pixels are to be cut off at black and white
        y = network(torch.rand(1, 3, 24, 24))
    network.conv_last.weight.data /= 5 * y.std()
    network.conv_last.bias.data = 0.5 - (y.mean((0, 2, 3)) - network.conv_last.bias) / (5 * y.std())
    return network


@pytest.fixture
def make_tiny() -> Callable[..., RRDBNet]:
    return tiny_network


@pytest.fixture
def make_upscaler() -> Callable[..., Upscaler]:
    """An Upscaler on the CPU around a tiny network."""

    def make(fold: int = 1, precision: str = "fp32", **sizes: int) -> Upscaler:
        return Upscaler(tiny_network(fold), CPU, precision, **sizes)

    return make


@pytest.fixture
def noise() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (75, 93, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def packaged() -> Path:
    """The path of Real-ESRGAN x4plus as an ncnn model."""
    return PACKAGED


@pytest.fixture(scope="session")
def astronaut_rows(astronaut: Path) -> NDArray[np.uint8]:
    """Some rows of a photo, long enough for three tiles of 100 px with margins of 80."""
    with Image.open(astronaut) as image:
        return np.asarray(image.convert("RGB"))[100:108, 100:365]


@pytest.fixture(scope="session")
def face(astronaut: Path) -> NDArray[np.uint8]:
    """48 x 48 px of a photo: an eye, hair and background."""
    with Image.open(astronaut) as image:
        return np.asarray(image.convert("RGB"))[80:128, 200:248]
