"""What training minimises: nearness to the sharp photo, and looking like a photo.

All tensors are float (N, 3, S, S) in [-1, 1] or the discriminator's outputs for such.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.engine.gpen.networks import Discriminator
from worker.training.face_embedding import FaceEmbedding
from worker.training.measure.perceptual import torchvision_network


def pixel_loss(restored: Tensor, sharp: Tensor, beta: float = 0.1) -> Tensor:
    """Smooth L1: squared below `beta`, where noise lives, and absolute above, where edges do."""
    return functional.smooth_l1_loss(restored, sharp, beta=beta)


def edge_loss(restored: Tensor, sharp: Tensor, scales: int = 3) -> Tensor:
    """L1 between the image gradients at several scales: what a plain pixel loss leaves soft."""
    total = restored.new_zeros(())
    for scale in range(scales):
        if scale:
            restored, sharp = functional.avg_pool2d(restored, 2), functional.avg_pool2d(sharp, 2)
        for axis in (2, 3):
            total = total + functional.l1_loss(restored.diff(dim=axis), sharp.diff(dim=axis))
    return total / scales


def feature_loss(fake: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """L1 between the discriminator's feature maps, each level relative to its own magnitude.

    The GPEN paper's feature matching loss: the discriminator is the only perceptual network here.
    """
    parts = []
    for ours, theirs in zip(fake, real, strict=True):
        goal = theirs.detach().float()
        parts.append(functional.l1_loss(ours.float(), goal) / (goal.abs().mean() + 1e-6))
    return torch.stack(parts).mean()


def generator_loss(fake_scores: Tensor) -> Tensor:
    """Non-saturating: be taken for a photo."""
    return functional.softplus(-fake_scores.float()).mean()


def discriminator_loss(fake_scores: Tensor, real_scores: Tensor) -> Tensor:
    """Logistic: know a restoration from a photo."""
    return (
        functional.softplus(fake_scores.float()).mean()
        + functional.softplus(-real_scores.float()).mean()
    )


def gradient_penalty(discriminator: Discriminator, real: Tensor) -> Tensor:
    """R1 (Mescheder et al., arXiv 1801.04406): squared gradient of the scores at real photos."""
    real = real.detach().requires_grad_(True)
    scores = discriminator(real).sum()
    (gradient,) = torch.autograd.grad(scores, real, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()


def identity_loss(embedding: FaceEmbedding, restored: Tensor, sharp: Tensor) -> Tensor:
    """Mean distance of the face embeddings: 0.6 is where two persons are told apart."""
    with torch.no_grad():
        goal = embedding(sharp)
    # The root's slope has no end at 0.
    distances: Tensor = (embedding(restored) - goal).square().sum(1).add(1e-4).sqrt()
    return distances.mean()


class PerceptualFeatures(nn.Module):
    """Maps of torchvision's MobileNetV2, at four depths, of images in [-1, 1]."""

    _DEPTHS = (1, 3, 6, 10)

    mean: Tensor
    spread: Tensor

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(list(layers)[: self._DEPTHS[-1] + 1])
        for name, values in (("mean", (0.485, 0.456, 0.406)), ("spread", (0.229, 0.224, 0.225))):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        x, found = ((images.float() + 1.0) / 2.0 - self.mean) / self.spread, []
        for depth, layer in enumerate(self.layers):
            x = layer(x)
            if depth in self._DEPTHS:
                found.append(x)
        return found


def load_perceptual_features(path: Path) -> PerceptualFeatures:
    """Return the features with the operator's weights, frozen.

    Raises WeightsMissing or WeightsInvalid.
    """
    return PerceptualFeatures(torchvision_network("mobilenet_v2", path).features)


def perceptual_loss(features: PerceptualFeatures, restored: Tensor, sharp: Tensor) -> Tensor:
    """L1 between a classifier's maps, each depth relative to its own magnitude."""
    with torch.no_grad():
        goal = features(sharp)
    return feature_loss(features(restored), goal)
