"""What the generator minimizes: a weighted sum of losses, each named in the log."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.training import losses
from worker.training.adversary import Adversary
from worker.training.config import TrainConfig
from worker.training.face_embedding import FaceEmbedding, load_face_embedding
from worker.training.losses import PerceptualFeatures, load_perceptual_features
from worker.training.parallel import Figures


@dataclass
class Objective:
    """The losses of one training; the networks that they need are loaded once."""

    config: TrainConfig
    adversary: Adversary | None = None
    embedding: FaceEmbedding | None = None
    perceptual: PerceptualFeatures | None = None

    @classmethod
    def of(cls, config: TrainConfig, adversary: Adversary | None) -> Objective:
        """Load what the options ask for.

        Raises OptionUnavailable or WeightsInvalid if a network's weights are missing or wrong.
        """
        objective = cls(config, adversary)
        if config.identity:
            objective.embedding = load_face_embedding().to(config.device)
        if config.perceptual and config.perceptual_weights:
            features = load_perceptual_features(config.perceptual_weights)
            objective.perceptual = features.to(config.device)
        return objective

    def loss(self, restored: Tensor, sharp: Tensor) -> tuple[Tensor, Figures]:
        """Return the weighted sum, and each loss as it is."""
        config = self.config
        parts = {"pixels": (1.0, losses.pixel_loss(restored, sharp))}
        if config.edges:
            parts["edges"] = (config.edges, losses.edge_loss(restored, sharp))
        if self.embedding is not None:
            distance = losses.identity_loss(self.embedding, restored, sharp)
            parts["identity"] = (config.identity, distance)
        if self.perceptual is not None:
            distance = losses.perceptual_loss(self.perceptual, restored, sharp)
            parts["perceptual"] = (config.perceptual, distance)
        if self.adversary is not None:
            matching, verdict = self.adversary.judge(restored, sharp)
            parts["feature_matching"] = (config.feature_matching, matching)
            parts["adversarial"] = (config.adversarial, verdict)
        total = torch.stack([weight * value for weight, value in parts.values()]).sum()
        return total, {name: value.item() for name, (_, value) in parts.items()}
