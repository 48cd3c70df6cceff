"""Photos and options small enough that a whole training takes a second or two."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from worker.training.config import TrainConfig


@pytest.fixture(autouse=True)
def _one_thread(one_torch_thread: None) -> None:
    """Every test here trains a small network."""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of six made-up photos: smooth blobs."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        coarse = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (32, 32), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return folder


@pytest.fixture
def config(photos: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        photos=photos, validation=photos, out=tmp_path / "run", size=32, narrow=0.0625,
        channel_multiplier=2, batch=2, steps=6, learning_rate=2e-3, warmup_steps=2, ema_decay=0.5,
        log_every=2, validate_every=3, precision="fp32", sample_rows=0, loaders=0,
        discriminator_narrow=0.03125,
    )  # fmt: skip
