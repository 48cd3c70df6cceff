"""Batches for a training: each is a function of seed and step alone, prepared ahead in threads.

A resumed training sees what it would have seen, and no state of a loader has to be saved.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from torch import Tensor

from shared.errors import DatasetError
from worker.training.config import TrainConfig
from worker.training.data.degraders import degrader_named
from worker.training.data.pairs import load_pairs
from worker.training.data.photos import load_photos, to_tensor, varied, varied_pair

Batch = tuple[Tensor, Tensor]


class Batches:
    """Degraded and sharp photos, (batch, 3, S, S) each; OpenCV works beside Python's lock."""

    def __init__(self, config: TrainConfig, rank: int = 0) -> None:
        """Raises DatasetError for photos that cannot be used."""
        self._config, self._rank = config, rank
        self.photos = load_photos(config.photos, config.size)
        self._degraded = None
        if config.pairs is not None:
            self._degraded = load_pairs(config.pairs, self.photos)
        if not len(self.photos):  # pragma: no cover - load_photos raises before
            raise DatasetError("there are no photos")
        self._degrade = degrader_named(config.degradation)
        self._ahead = max(1, 2 * config.loaders)
        self._pool = ThreadPoolExecutor(config.loaders, "loader") if config.loaders else None

    def draw(self, step: int) -> Batch:
        """Return the batch of a step."""
        config = self._config
        rng = np.random.default_rng((config.seed, step, *([self._rank] if self._rank else [])))
        chosen = rng.integers(len(self.photos), size=config.batch)
        low, sharp = [], []
        for index in chosen:
            if self._degraded is not None:
                pair = self._degraded[index], self.photos.images[index]
                spoiled, clean = varied_pair(*pair, rng)
            else:
                clean = varied(self.photos.images[index], rng)
                spoiled = self._degrade(clean, rng)
            low.append(spoiled)
            sharp.append(clean)
        return to_tensor(low), to_tensor(sharp)

    def from_step(self, step: int) -> Iterator[tuple[int, Batch]]:
        """Yield step and batch, without end."""
        if self._pool is None:
            while True:
                yield step, self.draw(step)
                step += 1
        ahead: deque[tuple[int, Future[Batch]]] = deque()
        while True:
            while len(ahead) < self._ahead:
                number = step + len(ahead)
                ahead.append((number, self._pool.submit(self.draw, number)))
            number, future = ahead.popleft()
            step = number + 1
            yield number, future.result()

    def close(self) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
