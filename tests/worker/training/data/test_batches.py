"""A batch depends on seed, step and process alone, however it is prepared."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from shared.errors import DatasetError
from worker.training.config import TrainConfig
from worker.training.data.batches import Batches


def drawn(config: TrainConfig, step: int, rank: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    with closing(Batches(config, rank)) as batches:
        return batches.draw(step)


def test_a_batch_depends_on_seed_and_step_alone(config: TrainConfig) -> None:
    low, sharp = drawn(config, 5)
    assert all(map(torch.equal, (low, sharp), drawn(config, 5)))
    assert not torch.equal(low, drawn(config, 6)[0])
    assert not torch.equal(low, drawn(replace(config, seed=2), 5)[0])
    assert low.shape == sharp.shape == (2, 3, 32, 32)
    assert low.abs().max() <= 1.0


def test_each_process_draws_its_own(config: TrainConfig) -> None:
    assert not torch.equal(drawn(config, 5)[1], drawn(config, 5, rank=1)[1])


@pytest.mark.parametrize("loaders", [0, 1, 3])
def test_preparing_ahead_changes_nothing(config: TrainConfig, loaders: int) -> None:
    with closing(Batches(replace(config, loaders=loaders))) as batches:
        found = list(islice(batches.from_step(7), 9))
    assert [step for step, _ in found] == list(range(7, 16))
    for step, (low, sharp) in found:
        assert all(map(torch.equal, (low, sharp), drawn(config, step)))


def test_pairs_are_mirrored_together(config: TrainConfig, photos: Path) -> None:
    low, sharp = drawn(replace(config, pairs=photos, batch=8), 1)
    assert torch.equal(low, sharp)


def test_a_photo_without_partner_is_named(config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "low").mkdir()
    for name in ("0", "1", "2", "3", "4"):
        cv2.imwrite(str(tmp_path / "low" / f"{name}.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(DatasetError, match="5 has no degraded partner"):
        Batches(replace(config, pairs=tmp_path / "low"))
    for name in ("5", "stranger"):
        cv2.imwrite(str(tmp_path / "low" / f"{name}.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(DatasetError, match=r"stranger in .* has no sharp partner"):
        Batches(replace(config, pairs=tmp_path / "low"))
