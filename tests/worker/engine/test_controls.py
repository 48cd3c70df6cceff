"""Noise scale and truncation: nothing at 1, all of it at 0."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from worker.engine.controls import Controls
from worker.engine.gpen.networks import Generator, GpenConfig

FORMS = [GpenConfig(32, 32, 2, 0.125), GpenConfig(32, 64, 2, 0.125)]


def generator(config: GpenConfig) -> Generator:
    torch.manual_seed(3)
    made = Generator(config).eval()
    for name, parameter in made.named_parameters():
        if name.endswith("noise.weight"):  # at random weights it is 0: features would not matter
            parameter.data.fill_(0.5)
    return made


def run(network: Generator, photos: Tensor, **controls: float) -> Tensor:
    with torch.inference_mode():
        return network(photos, controls=Controls(**controls))


@pytest.fixture
def photos() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("config", FORMS)
def test_at_one_the_answer_is_bit_for_bit_that_without_controls(
    config: GpenConfig, photos: Tensor
) -> None:
    network = generator(config)
    with torch.inference_mode():
        plain = network(photos)
    assert torch.equal(run(network, photos, noise_scale=1.0, truncation=1.0), plain)


@pytest.mark.parametrize("config", FORMS)
@pytest.mark.parametrize("turned", [{"noise_scale": 0.5}, {"truncation": 0.5}])
def test_each_changes_the_answer(
    config: GpenConfig, turned: dict[str, float], photos: Tensor
) -> None:
    network = generator(config)
    assert not torch.allclose(run(network, photos, **turned), run(network, photos), atol=1e-3)


def test_with_neither_features_nor_latent_every_photo_becomes_the_mean_face(photos: Tensor) -> None:
    network = generator(FORMS[0])
    first, second = run(network, photos, noise_scale=0.0, truncation=0.0)
    assert torch.equal(first, second)
    assert not torch.equal(*run(network, photos, noise_scale=0.0))
    assert not torch.equal(*run(network, photos, truncation=0.0))


def test_at_noise_scale_zero_the_seed_of_the_super_resolving_form_is_silent(photos: Tensor) -> None:
    network, silent = generator(FORMS[1]), Controls(noise_scale=0.0)
    with torch.inference_mode():
        one, other = (network(photos, seed=seed, controls=silent) for seed in (1, 2))
    assert torch.equal(one, other)


def test_half_way_the_latent_lies_between_mean_and_photo(photos: Tensor) -> None:
    """Seen through a decoder whose first convolution is asked for its latent."""
    network, seen = generator(FORMS[0]), []
    network.generator.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    run(network, photos, truncation=0.25)
    with torch.inference_mode():
        mean, own = network.mean_latent(), network.latent(photos)
    assert torch.allclose(seen[0], 0.75 * mean + 0.25 * own, atol=1e-5)


def test_the_mean_latent_is_near_that_of_many_other_vectors_and_always_the_same() -> None:
    network = generator(FORMS[0])
    others = torch.randn(4000, 512, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        latents = network.generator.style(others)
        mean = network.mean_latent()
    spread = (latents - latents.mean(0)).norm(dim=1).mean()
    assert float((mean - latents.mean(0)).norm() / spread) < 0.06
    again = generator(FORMS[0])
    assert torch.equal(again.mean_latent(), mean)
