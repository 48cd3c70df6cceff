"""The identity start is a matter of weights: the architecture and the gradients stay."""

from __future__ import annotations

import pytest
import torch

from worker.engine.gpen.networks import Generator, GpenConfig
from worker.training.identity_start import start_from_identity


def test_an_untrained_generator_answers_its_input() -> None:
    generator = Generator(GpenConfig(32, 32, 1, 0.0625))
    start_from_identity(generator)
    photos = torch.rand(2, 3, 32, 32) * 2 - 1
    torch.testing.assert_close(generator(photos), photos, atol=1e-4, rtol=1e-4)


def test_it_can_learn_from_there() -> None:
    generator = Generator(GpenConfig(32, 32, 1, 0.0625))
    start_from_identity(generator)
    (generator(torch.rand(1, 3, 32, 32)) ** 2).mean().backward()
    gradients = [each.conv.weight.grad for each in generator.generator.to_rgbs]  # type: ignore[union-attr]
    assert all(each is not None and each.abs().sum() > 0 for each in gradients)


@pytest.mark.parametrize("config", [GpenConfig(32, 64, 1, 0.25), GpenConfig(32, 32, 1, 0.0078125)])
def test_forms_without_a_straight_way_are_refused(config: GpenConfig) -> None:
    with pytest.raises(ValueError, match="no identity start"):
        start_from_identity(Generator(config))
