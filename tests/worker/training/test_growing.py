"""A grown network starts with what the smaller one has learned."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from shared.errors import SettingsInvalid
from worker.engine.gpen.layers import Blur, Upsample
from worker.engine.gpen.networks import Generator, GpenConfig
from worker.training.growing import grow, grow_to

SMALL = GpenConfig(16, 16, 2, 0.05)


@pytest.fixture
def small() -> Generator:
    torch.manual_seed(1)
    generator = Generator(SMALL)
    for key, parameter in generator.named_parameters():
        if key.endswith("noise.weight"):
            parameter.data.fill_(0.7)
    return generator.eval()


def halved(image: torch.Tensor) -> torch.Tensor:
    return Blur(pad=2)(image)[:, :, 1:-1:2, 1:-1:2]


def test_a_grown_network_answers_as_the_small_one_enlarged(small: Generator) -> None:
    image = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.inference_mode():
        expected = Upsample()(small(halved(image)))
        found = grow(small)(image)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_the_new_level_can_learn(small: Generator) -> None:
    grown = grow(small)
    grown(torch.rand(1, 3, 32, 32)).square().mean().backward()
    last = grown.get_parameter("generator.to_rgbs.2.conv.weight").grad
    assert last is not None
    assert last.abs().max() > 0


def test_growing_goes_on_until_the_size_is_reached(small: Generator) -> None:
    assert grow_to(small, GpenConfig(64, 64, 2, 0.05)).config.size == 64
    assert grow_to(small, SMALL) is small


def test_a_network_with_a_last_step_can_be_trained_on(small: Generator) -> None:
    finishing = Generator(replace(SMALL, finish=True))
    assert grow_to(finishing, SMALL) is finishing
    assert grow(finishing).config.finish


def test_weights_of_another_network_are_refused(small: Generator) -> None:
    with pytest.raises(SettingsInvalid, match="of another network"):
        grow_to(small, GpenConfig(32, 32, 2, 0.1))
    with pytest.raises(SettingsInvalid, match="of another network"):
        grow_to(small, GpenConfig(8, 8, 2, 0.05))


def test_what_cannot_be_grown_is_refused() -> None:
    with pytest.raises(SettingsInvalid, match="cannot be grown"):
        grow(Generator(GpenConfig(16, 32, 2, 0.05)))
