"""What training minimises: nearness to the sharp photo, and looking like a photo.

All tensors are float (N, 3, S, S) in [-1, 1] or the discriminator's outputs for such.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from worker.engine.gpen.networks import Discriminator


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
