"""Networks with the weights of the golden vectors: noise, seeded by the name of each key."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from worker.engine.gpen.config import GpenConfig
from worker.engine.gpen.networks import Generator

CONFIGS = {256: GpenConfig(256, 256, 1, 0.5), 512: GpenConfig(512, 512, 2, 1.0)}
_VECTORS = Path(__file__).parents[1] / "tests" / "data" / "gpen" / "golden.npz"


def golden_state(config: GpenConfig) -> dict[str, Tensor]:
    """See gpen/SPEC.md, Golden vectors."""
    with torch.device("meta"):
        shapes = {key: tuple(like.shape) for key, like in Generator(config).state_dict().items()}
    kernels = Generator(GpenConfig(8, 8, 1, 0.01)).state_dict()
    down, up = kernels["ecd1.0.0.kernel"], kernels["generator.convs.0.conv.blur.kernel"]
    return {
        key: (down if key.startswith("ecd") else up) if key.endswith("kernel") else _noise(key, it)
        for key, it in shapes.items()
    }


def golden_images(size_px: int) -> NDArray[np.float32]:
    """The input of the vectors, one image."""
    noise = np.random.default_rng(7).standard_normal((1, 3, size_px, size_px))
    return np.clip(noise, -1, 1).astype(np.float32)


def golden_error(images: Any, size_px: int) -> float:
    """Relative L2 error of a network's answer to `golden_images`."""
    with np.load(_VECTORS) as vectors:
        expected = vectors[f"GPEN-BFR-{size_px}"]
    step = 4 if size_px == 512 else 1
    difference = np.asarray(images)[:, :, ::step, ::step] - expected
    return float(np.linalg.norm(difference) / np.linalg.norm(expected))


def save_golden(folder: Path, size_px: int) -> str:
    """Write the weights as an operator's own model into ``folder``; answers its name."""
    name = f"golden-{size_px}"
    state = {key: each.clone().contiguous() for key, each in golden_state(CONFIGS[size_px]).items()}
    save_file(state, folder / f"{name}.safetensors", metadata={"template": "gpen"})
    return name


def _noise(key: str, shape: tuple[int, ...]) -> Tensor:
    noise = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
    value = torch.from_numpy(noise.astype(np.float32))
    if key.endswith("modulation.bias"):
        return 1 + 0.1 * value
    if key.endswith("bias"):
        return 0.1 * value
    if key.endswith("noise.weight"):
        return 0.5 + 0.1 * value
    return 100 * value if key.startswith("generator.style.") else value
