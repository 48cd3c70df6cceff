"""The discriminator at work: what it tells the generator, and how it learns itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from worker.engine.gpen.networks import Discriminator, GpenConfig, load_discriminator
from worker.training import losses
from worker.training.config import TrainConfig
from worker.training.parallel import Figures, Parallel


class Adversary:
    """A discriminator with its optimizer, for as long as one training runs."""

    def __init__(self, config: TrainConfig, held: dict[str, Any]) -> None:
        """Go on from the `d` and `d_optim` that are held, or start from random weights."""
        self.config = config
        narrow = config.discriminator_narrow
        shape = GpenConfig(config.size, config.size, config.channel_multiplier, narrow)
        model = load_discriminator(held["d"]) if held.get("d") else Discriminator(shape)
        self.model = model.to(config.device)
        rate = config.learning_rate * config.discriminator_rate
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=rate, betas=(0.9, 0.99))
        self.optimizer.param_groups[0]["share"] = config.discriminator_rate
        if held.get("d_optim"):
            self.optimizer.load_state_dict(held["d_optim"])

    def judge(self, restored: Tensor, sharp: Tensor) -> tuple[Tensor, Tensor]:
        """Return how unlike the photo's the features are, and how far it is from being fooled."""
        with self.config.autocast():
            with torch.no_grad():
                real = self.model.features(sharp)
            fake = self.model.features(restored)
            scores = self.model.judge(fake[-1])
        return losses.feature_loss(fake, real), losses.generator_loss(scores)

    def gradients(self, parallel: Parallel, restored: Tensor, sharp: Tensor, step: int) -> Figures:
        """Set its own gradients, with the penalty on every `penalty_every`-th step."""
        penalize = step % self.config.penalty_every == 0

        def loss(fake: Tensor, real: Tensor) -> tuple[Tensor, Figures, Tensor]:
            with self.config.autocast():
                scores = self.model(fake), self.model(real)
            total = losses.discriminator_loss(*scores)
            figures = {"discriminator": total.item()}
            if penalize:
                weight = 0.5 * self.config.penalty * self.config.penalty_every
                total = total + weight * losses.gradient_penalty(self.model, real)
            return total, figures, scores[0]

        return parallel.backward(self.model, loss, restored, sharp)[0]

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint has to hold to go on."""
        return {"d": self.model.state_dict(), "d_optim": self.optimizer.state_dict()}
