"""The networks compared with golden vectors and published keys; wrong weights are refused."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from shared.errors import WeightsInvalid
from worker.engine.gpen.networks import (
    Discriminator,
    Generator,
    GpenConfig,
    build_generator,
    infer_config,
    load_discriminator,
    load_generator,
)

DATA = Path(__file__).parents[3] / "data" / "gpen"
GOLDEN = np.load(DATA / "golden.npz")
PUBLISHED = json.loads((DATA / "state_dicts.json").read_text())

TINY = GpenConfig(32, 32, 2, 0.125)
SMALL = GpenConfig(64, 64, 1, 0.25)
SUPER_RESOLVING = GpenConfig(32, 128, 1, 0.25)
FINISHING = GpenConfig(32, 32, 2, 0.125, finish=True)
CONFIGS = {
    "tiny-32": TINY,
    "tiny-64": SMALL,
    "GPEN-BFR-256": GpenConfig(256, 256, 1, 0.5),
    "GPEN-BFR-512": GpenConfig(512, 512, 2, 1.0),
}


def golden_weights(model: nn.Module, silent: tuple[int, ...] = ()) -> dict[str, Tensor]:
    """Make the weights of the golden vectors: noise whose seed is the key."""
    state = dict(model.state_dict())
    for key, tensor in state.items():
        if key.endswith("kernel"):
            continue
        noise = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(tuple(tensor.shape))
        value = torch.from_numpy(noise.astype(np.float32))
        if key.endswith("modulation.bias"):
            value = 1 + 0.1 * value
        elif key.endswith("bias"):
            value = 0.1 * value
        elif key.endswith("noise.weight"):
            value = 0.5 + 0.1 * value
        elif key.startswith("generator.style."):
            value = 100 * value
        state[key] = value
    for index in silent:
        state[f"generator.convs.{index}.noise.weight"] = torch.zeros(1)
    return state


def golden_generator(config: GpenConfig, silent: tuple[int, ...] = ()) -> Generator:
    return load_generator(golden_weights(Generator(config), silent))


def golden_input(count: int, size: int) -> Tensor:
    noise = np.random.default_rng(7).standard_normal((count, 3, size, size))
    return torch.from_numpy(np.clip(noise, -1, 1).astype(np.float32))


def relative_error(found: Tensor, expected: Any) -> float:
    wanted = torch.from_numpy(np.asarray(expected))
    return float((found - wanted).norm() / wanted.norm())


@pytest.fixture
def tiny() -> Generator:
    return golden_generator(TINY)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_generator_gives_the_published_networks_output_and_latent(name: str) -> None:
    config, stride = CONFIGS[name], 4 if name == "GPEN-BFR-512" else 1
    generator = golden_generator(config)
    photos = golden_input(2 if name == "tiny-32" else 1, config.size)
    with torch.inference_mode():
        image, latent = generator(photos), generator.latent(photos)
    assert relative_error(image[:, :, ::stride, ::stride], GOLDEN[name]) < 1e-5
    assert relative_error(latent, GOLDEN[f"{name}/latent"]) < 1e-5


def test_the_super_resolving_form_gives_the_published_networks_output() -> None:
    generator = golden_generator(SUPER_RESOLVING, silent=(6, 7, 8, 9))
    with torch.inference_mode():
        image = generator(golden_input(1, 32))
    assert relative_error(image, GOLDEN["sr-32-128"]) < 1e-5


def test_the_discriminator_gives_the_published_networks_scores() -> None:
    discriminator = load_discriminator(golden_weights(Discriminator(SMALL)))
    with torch.inference_mode():
        scores = discriminator(golden_input(4, 64))
    assert relative_error(scores, GOLDEN["D-64"]) < 1e-5


@pytest.mark.parametrize("name", PUBLISHED)
def test_keys_shapes_and_size_are_those_of_the_published_weights(name: str) -> None:
    published = PUBLISHED[name]
    config = infer_config(published["generator"])
    assert (config.in_size, config.size) == (published["size"], published["size"])
    assert config.channel_multiplier == published["channel_multiplier"]
    assert config.narrow == published["narrow"]
    assert (config.style_dim, config.n_mlp) == (published["style_dim"], published["n_mlp"])
    with torch.device("meta"):
        generator, discriminator = build_generator(config), Discriminator(config)
    for model, kind in ((generator, "generator"), (discriminator, "discriminator")):
        shapes = {key: list(tensor.shape) for key, tensor in model.state_dict().items()}
        assert shapes == published[kind]
    assert sum(each.numel() for each in generator.parameters()) == published["parameters"]


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        SUPER_RESOLVING,
        FINISHING,
        GpenConfig(64, 64, 1, 0.3),
        GpenConfig(128, 128, 4, 0.1, 64, 3),
    ],
)
def test_the_configuration_is_inferred_from_the_shapes_alone(config: GpenConfig) -> None:
    with torch.device("meta"):
        shapes = {key: tuple(it.shape) for key, it in Generator(config).state_dict().items()}
    inferred = infer_config(shapes)
    for name in ("in_size", "size", "channel_multiplier", "style_dim", "n_mlp", "finish"):
        assert getattr(inferred, name) == getattr(config, name)
    resolutions = [2**power for power in range(2, config.size.bit_length())]
    assert [inferred.channels(r) for r in resolutions] == [config.channels(r) for r in resolutions]


@pytest.mark.parametrize("config", [TINY, FINISHING])
def test_a_face_does_not_depend_on_its_batch(config: GpenConfig) -> None:
    generator, photos = golden_generator(config), golden_input(3, 32)
    with torch.inference_mode():
        together, alone = generator(photos), generator(photos[1:2])
    assert relative_error(together[1:2], alone.numpy()) < 1e-5


def test_a_seed_fixes_the_super_resolved_image() -> None:
    generator, photos = golden_generator(SUPER_RESOLVING), golden_input(2, 32)
    with torch.inference_mode():
        first, again, other = (generator(photos, seed=seed) for seed in (1, 1, 2))
        alone = generator(photos[1:], seed=1)
    assert torch.equal(first, again)
    assert relative_error(other, first.numpy()) > 1e-3
    assert relative_error(first[1:], alone.numpy()) < 1e-5


def test_autocast_keeps_the_latent_in_float32_and_the_image_near(tiny: Generator) -> None:
    photos = golden_input(2, 32)
    with torch.inference_mode():
        whole = tiny(photos)
        with torch.autocast("cpu", torch.bfloat16):
            half, latent = tiny(photos), tiny.latent(photos)
    assert half.dtype == latent.dtype == torch.float32
    assert relative_error(half, whole.numpy()) < 0.02


def test_a_checkpoint_holds_the_weights_under_g_ema(tiny: Generator) -> None:
    checkpoint = {"g_ema": tiny.state_dict(), "d": {}, "step": 7}
    assert infer_config(checkpoint) == tiny.config
    assert torch.equal(
        load_generator(checkpoint).latent(golden_input(1, 32)), tiny.latent(golden_input(1, 32))
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_become_float32(tiny: Generator, dtype: torch.dtype) -> None:
    halved = {key: tensor.to(dtype) for key, tensor in tiny.state_dict().items()}
    loaded = load_generator(halved).state_dict()
    assert {tensor.dtype for tensor in loaded.values()} == {torch.float32}
    assert all(torch.equal(loaded[k], tiny.state_dict()[k]) for k in loaded if "kernel" in k)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("ecd1.0.1.weight", None, "missing: ecd1.0.1.weight"),
        ("generator.input.input", None, "missing: generator.input.input"),
        ("extra.weight", torch.zeros(1), "unknown: extra.weight"),
        ("ecd99999999.0.0.weight", torch.zeros(1), "unknown: ecd99999999"),
        ("final_linear.0.bias", torch.zeros(3), "final_linear.0.bias"),
        ("final_linear.0.bias", torch.zeros(512, dtype=torch.int32), "final_linear.0.bias"),
        ("final_linear.0.bias", "a string", "final_linear.0.bias"),
        ("generator.input.input", torch.zeros(1), "generator.input.input"),
        ("generator.convs.0.conv.weight", torch.zeros(1, 3, 8, 3, 3), "widths"),
        ("ecd1.0.0.kernel", torch.ones(4, 4), "not the FIR kernel: ecd1.0.0.kernel"),
    ],
)
def test_wrong_weights_are_refused_by_the_name_of_the_key(
    tiny: Generator, key: str, value: Any, says: str
) -> None:
    state = dict(tiny.state_dict()) | {key: value}
    if value is None:
        del state[key]
    with pytest.raises(WeightsInvalid, match=says):
        load_generator(state)


def test_a_kernel_may_have_another_gain_but_ours_stays(tiny: Generator) -> None:
    state = dict(tiny.state_dict())
    state["ecd1.0.0.kernel"] = 64 * state["ecd1.0.0.kernel"]
    loaded = load_generator(state)
    assert torch.equal(loaded.state_dict()["ecd1.0.0.kernel"], tiny.state_dict()["ecd1.0.0.kernel"])


@pytest.mark.parametrize("weights", [{}, {"g_ema": None}, {"some": torch.zeros(2)}])
def test_the_weights_of_another_network_are_refused(weights: dict[str, Any]) -> None:
    with pytest.raises(WeightsInvalid):
        load_generator(weights)


def test_a_wrong_discriminator_is_refused_by_the_name_of_the_key() -> None:
    state = dict(Discriminator(TINY).state_dict())
    del state["final_conv.1.bias"]
    with pytest.raises(WeightsInvalid, match=r"missing: final_conv\.1\.bias"):
        load_discriminator({"d": state})


@pytest.mark.parametrize(("in_size", "size"), [(100, 100), (64, 32), (0, 64), (64, 8192)])
def test_sizes_that_no_network_has_are_refused(in_size: int, size: int) -> None:
    with pytest.raises(ValueError, match="powers of two"):
        GpenConfig(in_size, size, 1, 0.25)
