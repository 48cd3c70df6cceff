"""Losses are zero at their goal, grow away from it, and reach the weights."""

from __future__ import annotations

import pytest
import torch

from worker.engine.gpen.networks import Discriminator, GpenConfig
from worker.training import losses


@pytest.fixture
def sharp() -> torch.Tensor:
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_nearness_is_zero_for_the_same_image_and_grows(sharp: torch.Tensor) -> None:
    for loss in (losses.pixel_loss, losses.edge_loss):
        assert loss(sharp, sharp).item() == 0.0
        assert loss(0.5 * sharp, sharp) > loss(0.9 * sharp, sharp) > 0


def test_edges_do_not_mind_brightness(sharp: torch.Tensor) -> None:
    assert losses.edge_loss(sharp + 0.3, sharp).item() == pytest.approx(0.0, abs=1e-6)
    assert losses.pixel_loss(sharp + 0.3, sharp) > 0.1


def test_features_are_compared_relative_to_their_size(sharp: torch.Tensor) -> None:
    fake, real = [sharp, sharp * 1.5], [sharp * 2, sharp * 3]
    loud = losses.feature_loss([100 * each for each in fake], [100 * each for each in real])
    assert losses.feature_loss(fake, real).item() == pytest.approx(loud.item(), rel=1e-4)
    assert losses.feature_loss(real, real).item() == 0.0


def test_the_two_sides_want_opposite_verdicts() -> None:
    low, high = torch.full((4, 1), -3.0), torch.full((4, 1), 3.0)
    assert losses.generator_loss(high) < losses.generator_loss(low)
    assert losses.discriminator_loss(low, high) < losses.discriminator_loss(high, low)


def test_the_penalty_reaches_the_discriminators_weights(sharp: torch.Tensor) -> None:
    discriminator = Discriminator(GpenConfig(32, 32, 1, 0.0625))
    penalty = losses.gradient_penalty(discriminator, sharp)
    assert penalty > 0
    penalty.backward()
    assert discriminator.get_parameter("convs.0.0.weight").grad is not None
