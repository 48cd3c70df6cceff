"""The hyper-parameters of a GPEN network, inferred from the keys and shapes of its weights.

Key names and sizes are those of the published checkpoints. This module does not need torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from shared.errors import WeightsInvalid

_SIZES = tuple(2**power for power in range(3, 13))


@dataclass(frozen=True)
class GpenConfig:
    """The hyper-parameters of a network. `infer_config` infers them from its weights.

    `in_size` and `size` are the sides of input and output in pixels. If `in_size` < `size`, the
    network is the super-resolving form: its upper levels get noise instead of features. `finish`
    adds a last step (`layers.Finish`) that the published networks do not have.
    """

    in_size: int
    size: int
    channel_multiplier: int
    narrow: float
    style_dim: int = 512
    n_mlp: int = 8
    finish: bool = False

    def __post_init__(self) -> None:
        if self.in_size not in _SIZES or self.size not in _SIZES or self.in_size > self.size:
            raise ValueError(f"sizes must be powers of two, in <= out: {self.in_size}, {self.size}")

    def channels(self, resolution: int) -> int:
        """Return the channels at a resolution: constant up to 32 px, then half per doubling."""
        if resolution <= 32:
            return int(512 * self.narrow)
        return int(16384 // resolution * self.channel_multiplier * self.narrow)


def infer_config(weights: Mapping[str, Any]) -> GpenConfig:
    """Infer the hyper-parameters of a generator from its state dict, or from its shapes by key.

    Raises WeightsInvalid, which names a key that is missing or impossible.
    """
    shapes = _shapes(unwrap(weights, "g_ema"))
    in_power = _last(shapes, r"ecd(\d+)\.", 0) + 2
    out_power = _last(shapes, r"generator\.to_rgbs\.(\d+)\.", 0) + 3
    widths = {4: _dimension(shapes, "generator.input.input", 1)}
    for power in range(3, out_power + 1):
        key = f"generator.convs.{2 * power - 6}.conv.weight"
        widths[2**power] = _dimension(shapes, key, 1)
    style_dim = _dimension(shapes, "final_linear.0.weight", 0)
    n_mlp = _last(shapes, r"generator\.style\.(\d+)\.", 1)
    config = _fit(widths, in_power, out_power, style_dim, n_mlp)
    return replace(config, finish="finish.strength" in shapes)


def infer_discriminator_config(weights: Mapping[str, Any]) -> GpenConfig:
    """Infer the hyper-parameters of a discriminator; those of the style keep their defaults.

    Raises WeightsInvalid, as `infer_config` does.
    """
    shapes = _shapes(unwrap(weights, "d"))
    power = _last(shapes, r"convs\.(\d+)\.", 1) + 2
    widths = {4: _dimension(shapes, "final_linear.0.weight", 0)}
    for block in range(1, power - 1):
        key = f"convs.{block}.conv1.0.weight"
        widths[2 ** (power + 1 - block)] = _dimension(shapes, key, 0)
    return _fit(widths, power, power, 512, 8)


def unwrap(weights: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the state dict of a training checkpoint under `key`, or else `weights` itself.

    Raises WeightsInvalid if there is no state dict.
    """
    inner = weights.get(key, weights)
    if not isinstance(inner, Mapping) or not inner:
        raise WeightsInvalid(f"these weights hold no state dict (looked under {key!r} too)")
    return inner


def _shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shapes by key. A value without a shape gets ``()``, an error later."""
    found = {key: getattr(value, "shape", value) for key, value in state.items()}
    return {k: tuple(v) if isinstance(v, list | tuple) else () for k, v in found.items()}


def _last(shapes: Mapping[str, Any], pattern: str, least: int) -> int:
    """Return the highest number in the keys of this pattern, between ``least`` and 64."""
    matches = ((re.match(pattern, key), key) for key in shapes)
    numbers = {int(match[1]): key for match, key in matches if match}
    top = max(numbers, default=-1)
    if top < least:
        raise WeightsInvalid(f"these weights are not GPEN's: no key matches {pattern}")
    if top > 64:
        raise WeightsInvalid(f"these weights are not GPEN's: unknown: {numbers[top]}")
    return top


def _dimension(shapes: Mapping[str, tuple[int, ...]], key: str, axis: int) -> int:
    shape = shapes.get(key)
    if shape is None:
        raise WeightsInvalid(f"these weights are not GPEN's: missing: {key}")
    if len(shape) <= axis or not 0 < shape[axis] <= 65536:
        raise WeightsInvalid(f"these weights are not GPEN's: {key} cannot have shape {shape}")
    return shape[axis]


def _fit(
    widths: dict[int, int], in_power: int, out_power: int, style_dim: int, n_mlp: int
) -> GpenConfig:
    """Find a `channel_multiplier` and a `narrow` that give exactly these widths.

    The widths do not determine them: they are rounded, and up to 32 px they do not depend on
    `channel_multiplier`. Every pair that gives the widths gives the same network, so the first one
    is used.
    """
    for multiplier, narrow in _candidates(widths):
        try:
            config = GpenConfig(2**in_power, 2**out_power, multiplier, narrow, style_dim, n_mlp)
        except ValueError as error:
            raise WeightsInvalid(f"these weights are not GPEN's: {error}") from error
        if all(config.channels(resolution) == width for resolution, width in widths.items()):
            return config
    raise WeightsInvalid(f"these weights are not GPEN's: widths by resolution {widths}")


def _candidates(widths: dict[int, int]) -> Iterator[tuple[int, float]]:
    """Yield pairs to try. Each rounded width allows a range of `narrow`; they must overlap."""
    for multiplier in (2, 1, *range(3, 17)):
        per_narrow = {r: 512 if r <= 32 else 16384 // r * multiplier for r in widths}
        low = max(width / per_narrow[r] for r, width in widths.items())
        high = min((width + 1) / per_narrow[r] for r, width in widths.items())
        if low < high:
            yield multiplier, low
            yield multiplier, (low + high) / 2
