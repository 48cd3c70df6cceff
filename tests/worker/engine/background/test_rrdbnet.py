"""RRDBNet: sizes inferred from weights, strict loading, and optimizations without effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from shared.errors import WeightsInvalid
from worker.engine.background.rrdbnet import RRDBConfig, RRDBNet, infer_config, load_rrdbnet
from worker.engine.gpen.config import GpenConfig
from worker.engine.gpen.networks import build_generator

MakeTiny = Callable[..., RRDBNet]


@pytest.mark.parametrize(
    ("config", "scale", "parameters"),
    [(RRDBConfig(), 4, 16_697_987), (RRDBConfig(fold=2), 2, 16_703_171)],
    ids=["x4plus", "x2plus"],
)
def test_the_network_has_the_published_size(
    config: RRDBConfig, scale: int, parameters: int
) -> None:
    with torch.device("meta"):
        network = RRDBNet(config)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert infer_config(network.state_dict()) == config
    assert config.scale == scale
    names = [name for name, _ in network.convolutions()]
    assert (len(names), names[0], names[-1]) == (351, "conv_first", "conv_last")
    assert names[1:4] == ["body.0.rdb1.conv1", "body.0.rdb1.conv2", "body.0.rdb1.conv3"]


@pytest.mark.parametrize("wrapping", ["params_ema", "params", None])
def test_a_checkpoint_is_found_where_training_puts_it(
    make_tiny: MakeTiny, wrapping: str | None
) -> None:
    state = make_tiny(blocks=2).state_dict()
    network = load_rrdbnet({wrapping: state} if wrapping else state)
    assert network.config == RRDBConfig(8, 4, 2, 1)
    assert all(torch.equal(state[key], tensor) for key, tensor in network.state_dict().items())


def without(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda state: state.pop(key)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without("conv_hr.bias"), "missing: conv_hr.bias"),
        (without("conv_first.weight"), "missing: conv_first.weight"),
        (without("body.0.rdb1.conv1.weight"), "missing: body.0.rdb1.conv1.weight"),
        (lambda s: s.update({"conv_up3.weight": torch.ones(1)}), "unknown: conv_up3.weight"),
        (lambda s: s.update({"conv_up1.weight": torch.ones(8, 8, 1, 1)}), "conv_up1.weight"),
        (lambda s: s.update({"conv_last.bias": "3"}), "wrong shape or type: conv_last.bias"),
        (lambda s: s.update({"body.900.rdb1.conv1.weight": torch.ones(1)}), "body.900"),
        (lambda s: s.update({"conv_first.weight": torch.ones(8, 48, 3, 3)}), "48 channels"),
        (lambda s: s.update({"conv_first.weight": torch.ones(8)}), "cannot have shape"),
    ],
)
def test_the_error_for_wrong_weights_names_the_key(
    make_tiny: MakeTiny, spoil: Callable[[dict[str, Any]], object], said: str
) -> None:
    state = dict(make_tiny().state_dict())
    spoil(state)
    with pytest.raises(WeightsInvalid, match=said):
        load_rrdbnet(state)


def test_weights_of_another_architecture_are_refused() -> None:
    state = build_generator(GpenConfig(32, 32, 1, 0.125)).state_dict()
    with pytest.raises(WeightsInvalid, match=r"not RRDBNet's: missing: conv_first\.weight"):
        load_rrdbnet(state)


def published_form(network: RRDBNet, x: Tensor) -> Tensor:
    """Compute the network as the papers define it, directly from the weights."""
    weights = network.state_dict()

    def conv(name: str, x: Tensor) -> Tensor:
        return functional.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)

    def active(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0.2 * x)

    if network.config.fold == 2:
        n, c, h, w = x.shape
        x = x.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4)
        x = x.reshape(n, 4 * c, h // 2, w // 2)
    first = conv("conv_first", x)
    x = first
    for block in range(network.config.blocks):
        before_block = x
        for dense in (1, 2, 3):
            maps = [x]
            for k in (1, 2, 3, 4):
                maps.append(active(conv(f"body.{block}.rdb{dense}.conv{k}", torch.cat(maps, 1))))
            x = x + 0.2 * conv(f"body.{block}.rdb{dense}.conv5", torch.cat(maps, 1))
        x = before_block + 0.2 * x
    x = first + conv("conv_body", x)
    for name in ("conv_up1", "conv_up2"):
        x = active(conv(name, x.repeat_interleave(2, 2).repeat_interleave(2, 3)))
    return conv("conv_last", active(conv("conv_hr", x)))


@pytest.mark.parametrize(("fold", "shape"), [(1, (12, 15)), (2, (24, 30)), (1, (9, 300))])
def test_the_network_computes_what_the_papers_define(
    make_tiny: MakeTiny, fold: int, shape: tuple[int, int]
) -> None:
    """The widest picture goes through the dense blocks in two windows."""
    network = make_tiny(fold, blocks=2)
    x = torch.rand(1, 3, *shape, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        error = (network(x) - published_form(network, x)).abs().max()
    assert error < 1e-5


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_returns_float32_near_the_full_precision(
    make_tiny: MakeTiny, precision: str
) -> None:
    x = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    network = make_tiny()
    network.place(torch.device("cpu"), precision)
    with torch.inference_mode():
        exact = make_tiny()(x)
        half = network(x)
    assert half.dtype is torch.float32
    assert 0 < (half - exact).abs().max() < 0.05 * exact.abs().max()
