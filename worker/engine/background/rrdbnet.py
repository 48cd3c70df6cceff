"""RRDBNet, the network of Real-ESRGAN, written from the papers.

ESRGAN (Wang et al., arXiv 1809.00219): dense blocks nested in residuals, without normalisation.
Real-ESRGAN (Wang et al., arXiv 2107.10833): the form that enlarges by 2 folds 2x2 pixels into
channels first. Keys and sizes are those of RealESRGAN_x4plus.pth and RealESRGAN_x2plus.pth.

In half precision the convolutions run in it, while the sum along the residuals and the last layer
stay in float32: 69 roundings of that sum, or one of the picture, would show.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.errors import WeightsInvalid
from worker.engine.background.tiles import tiles
from worker.weights.state_dict import load_strictly

#: Told of blocks done; may raise to stop.
OnBlock = Callable[[int], None]

_MAX_BLOCKS, _MAX_WIDTH = 64, 256
_RESIDUAL = 0.2
_DENSE_REACH_PX = 5  # of a dense block: one for each convolution
_WINDOW_PX = 256
#: How far the layers after the body look, in pixels of the body: 1/2 + 1/4 + 1/4 + 1/4, and a bit.
TAIL_REACH_PX = 2


@dataclass(frozen=True, slots=True)
class RRDBConfig:
    """``fold``: side of the square of pixels that becomes channels before the body."""

    features: int = 64
    growth: int = 32
    blocks: int = 23
    fold: int = 1

    @property
    def scale(self) -> int:
        """How many times larger the answer is."""
        return 4 // self.fold

    @property
    def reach_px(self) -> int:
        """How far, in pixels of the body, a pixel of the answer looks: every 3x3 adds one."""
        return 15 * self.blocks + 2 + TAIL_REACH_PX


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees all that came before it in the block."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.conv1 = _conv(features, growth)
        self.conv2 = _conv(features + growth, growth)
        self.conv3 = _conv(features + 2 * growth, growth)
        self.conv4 = _conv(features + 3 * growth, growth)
        self.conv5 = _conv(features + 4 * growth, features)

    def forward(self, x: Tensor) -> Tensor:
        """In windows: what is seen is up to three times as wide as what is answered."""
        answer = torch.empty_like(x)
        height, width = x.shape[2:]
        for window in tiles(height, width, side=_WINDOW_PX, margin=_DENSE_REACH_PX):
            seen = x[:, :, window.rows.seen, window.columns.seen]
            kept = self._whole(seen)[:, :, window.rows.kept(), window.columns.kept()]
            answer[:, :, window.rows.place(), window.columns.place()] = kept
        return answer

    def _whole(self, x: Tensor) -> Tensor:
        seen = x.to(self.conv1.weight.dtype)
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen = torch.cat((seen, _activate(conv(seen))), 1)
        return torch.add(x, self.conv5(seen).to(x.dtype), alpha=_RESIDUAL)


class ResidualBlock(nn.Module):
    """Three dense blocks: the residual in residual."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(features, growth)
        self.rdb2 = DenseBlock(features, growth)
        self.rdb3 = DenseBlock(features, growth)

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.rdb3(self.rdb2(self.rdb1(x))), alpha=_RESIDUAL)


class RRDBNet(nn.Module):
    """RGB 0…1 to RGB of about 0…1, ``scale`` times as large."""

    def __init__(self, config: RRDBConfig) -> None:
        super().__init__()
        self.config = config
        width = config.features
        self.conv_first = _conv(3 * config.fold**2, width)
        self.body = nn.Sequential(
            *(ResidualBlock(width, config.growth) for _ in range(config.blocks))
        )
        self.conv_body = _conv(width, width)
        self.conv_up1 = _conv(width, width)
        self.conv_up2 = _conv(width, width)
        self.conv_hr = _conv(width, width)
        self.conv_last = _conv(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 3, scale·H, scale·W); H and W are multiples of ``fold``."""
        return self.enlarge(self.analyse(x))

    def analyse(self, x: Tensor, on_block: OnBlock = lambda _done: None) -> Tensor:
        """The body: features (N, C, H/fold, W/fold), float32; nearly all of the work."""
        if self.config.fold > 1:
            x = functional.pixel_unshuffle(x, self.config.fold)
        first = features = _run(self.conv_first, x).float()
        for done, block in enumerate(self.body, 1):
            features = block(features)
            on_block(done)
        return first + _run(self.conv_body, features).float()

    def enlarge(self, features: Tensor) -> Tensor:
        """The tail: features to a picture four times as large; looks TAIL_REACH_PX around."""
        for conv in (self.conv_up1, self.conv_up2):
            doubled = functional.interpolate(features.to(conv.weight.dtype), scale_factor=2)
            features = _activate(conv(doubled))
        return _run(self.conv_last, _activate(self.conv_hr(features)))

    def to_precision(self, dtype: torch.dtype) -> Self:
        """Weights in ``dtype``, but for the last layer: its answer is the picture."""
        for name, layer in self.named_children():
            if name != "conv_last":
                layer.to(dtype)
        return self

    def convolutions(self) -> Iterator[tuple[str, nn.Conv2d]]:
        """All of them by name, in the order in which they run."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d):
                yield name, module


def load_rrdbnet(weights: Mapping[str, Any]) -> RRDBNet:
    """A network with these weights: a state dict, or a checkpoint that holds one.

    Raises WeightsInvalid, naming the key, for weights of anything else.
    """
    state = _unwrap(weights)
    config = infer_config(state)
    with torch.device("meta"):
        network = RRDBNet(config)
    load_strictly(network, state, "RRDBNet")
    return network


def infer_config(state: Mapping[str, Any]) -> RRDBConfig:
    """Sizes read off the shapes; raises WeightsInvalid where they are not an RRDBNet's."""
    features, inputs = _widths(state, "conv_first.weight")
    growth, _ = _widths(state, "body.0.rdb1.conv1.weight")
    numbers = {int(match[1]) for key in state if (match := re.match(r"body\.(\d+)\.", key))}
    blocks = max(numbers) + 1
    if blocks > _MAX_BLOCKS:
        raise WeightsInvalid(f"these weights are not RRDBNet's: unknown: body.{blocks - 1}")
    folds = {3: 1, 12: 2}
    if inputs not in folds:
        raise WeightsInvalid(
            f"these weights are not of an RRDBNet that enlarges by 4 or 2: conv_first.weight takes "
            f"{inputs} channels, not 3 or 12"
        )
    return RRDBConfig(features, growth, blocks, folds[inputs])


def _unwrap(weights: Mapping[str, Any]) -> Mapping[str, Any]:
    """Training leaves the averaged weights under ``params_ema``, plain ones under ``params``."""
    for key in ("params_ema", "params"):
        inner = weights.get(key)
        if isinstance(inner, Mapping):
            return inner
    return weights


def _widths(state: Mapping[str, Any], key: str) -> tuple[int, int]:
    """Channels out and in of a 3x3 convolution."""
    if key not in state:
        raise WeightsInvalid(f"these weights are not RRDBNet's: missing: {key}")
    shape = tuple(getattr(state[key], "shape", ()))
    if len(shape) != 4 or shape[2:] != (3, 3) or not 0 < max(shape[:2]) <= _MAX_WIDTH:
        raise WeightsInvalid(f"these weights are not RRDBNet's: {key} cannot have shape {shape}")
    return int(shape[0]), int(shape[1])


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def _run(conv: nn.Module, x: Tensor) -> Tensor:
    """Convolve in the precision of the weights."""
    weight: Any = conv.weight
    answer: Tensor = conv(x.to(weight.dtype))
    return answer


def _activate(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.2, inplace=True)
