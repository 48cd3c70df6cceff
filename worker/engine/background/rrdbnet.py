"""RRDBNet, the network of Real-ESRGAN, written from the papers.

ESRGAN (Wang et al., arXiv 1809.00219): dense blocks nested in residuals, without normalisation.
Real-ESRGAN (Wang et al., arXiv 2107.10833): the form that enlarges by 2 first folds 2x2 pixels into
channels. Keys and sizes are those of RealESRGAN_x4plus.pth and RealESRGAN_x2plus.pth.

Half precision applies to the convolutions only. The sum along the residuals and the last layer stay
in float32: to round that sum 69 times, or the picture once, would be visible.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from shared.errors import WeightsInvalid
from worker.engine.background.tiles import Axis, Span, tiles
from worker.engine.background.upscaler import Finish, OnStep
from worker.weights.safe_loading import load_strictly

#: What a tile looks at around itself, in pixels of the body. The network could look 349 px far; on
#: photographs and on noise, what lies beyond this distance changes no answer by more than 1/255
#: (measured: docs/models.md).
MARGIN_PX = 80
#: Side of a tile without its margins, in pixels of the body. With them it is 1024; what that
#: takes of memory is in docs/models.md.
TILE_PX = 864
#: The output is made in pieces of this side (in pixels of the body): it is 16 times as large.
_PIECE_PX = 128
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_MAX_BLOCKS, _MAX_WIDTH = 64, 256
_RESIDUAL = 0.2
_DENSE_REACH_PX = 5  # receptive field of a dense block on each side: 1 per convolution
_WINDOW_PX = 256
#: Receptive field of the layers after the body on each side, in pixels of the body: 1/2 + 1/4 + 1/4
#: + 1/4, rounded up.
TAIL_REACH_PX = 2


@dataclass(frozen=True, slots=True)
class RRDBConfig:
    """Sizes of the network. ``fold``: the side of the square of pixels that becomes channels."""

    features: int = 64
    growth: int = 32
    blocks: int = 23
    fold: int = 1

    @property
    def scale(self) -> int:
        """How many times larger the output is, on each side."""
        return 4 // self.fold

    @property
    def reach_px(self) -> int:
        """Receptive field of an output pixel on each side, in pixels of the body.

        Each 3x3 convolution adds one.
        """
        return 15 * self.blocks + 2 + TAIL_REACH_PX


class DenseBlock(nn.Module):
    """Five convolutions; the input of each one is the output of all before it in the block."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.conv1 = _conv(features, growth)
        self.conv2 = _conv(features + growth, growth)
        self.conv3 = _conv(features + 2 * growth, growth)
        self.conv4 = _conv(features + 3 * growth, growth)
        self.conv5 = _conv(features + 4 * growth, features)

    def forward(self, x: Tensor) -> Tensor:
        """Run window by window: the inner features need up to three times the memory of ``x``."""
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
    """Enlarges RGB pictures (0 to 1) by ``scale``; the output may slightly exceed 0 to 1.

    It is a `Network` of the upscaler: its steps are its blocks.
    """

    grid = 1
    tile_px = TILE_PX
    usual_precision = "auto"

    def __init__(self, config: RRDBConfig) -> None:
        super().__init__()
        self.config, self.scale, self.fold = config, config.scale, config.fold
        self.margin_px, self.steps = min(MARGIN_PX, config.reach_px), config.blocks
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
        """Convert (N, 3, H, W) to (N, 3, scale·H, scale·W); H and W are multiples of ``fold``."""
        return self.enlarge(self.analyse(x))

    def analyse(self, x: Tensor, on_step: OnStep = lambda _done: None) -> Tensor:
        """Run the body, nearly all of the work. Return features (N, C, H/fold, W/fold), float32."""
        if self.config.fold > 1:
            x = functional.pixel_unshuffle(x, self.config.fold)
        first = features = _run(self.conv_first, x).float()
        for done, block in enumerate(self.body, 1):
            features = block(features)
            on_step(done)
        return first + _run(self.conv_body, features).float()

    def enlarge(self, features: Tensor) -> Tensor:
        """Run the layers after the body: from features to a picture four times as large."""
        for conv in (self.conv_up1, self.conv_up2):
            doubled = functional.interpolate(features.to(conv.weight.dtype), scale_factor=2)
            features = _activate(conv(doubled))
        return _run(self.conv_last, _activate(self.conv_hr(features)))

    def place(self, device: torch.device, precision: str) -> None:
        """Move to the device. The last layer, which makes the picture, stays in float32."""
        self.eval().requires_grad_(False).to(device)
        for name, layer in self.named_children():
            if name != "conv_last":
                layer.to(_DTYPES[precision])
        for _, conv in self.convolutions():
            conv.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub

    def draw(
        self, x: Tensor, rows: Span, columns: Span, finish: Finish, on_step: OnStep
    ) -> NDArray[np.float32]:
        """Enlarge ``x``; the layers after the body run piece by piece."""
        features = self.analyse(x, on_step)
        down, across = (
            _pieces(
                Span(Axis(length, TAIL_REACH_PX), kept.start // self.fold, kept.stop // self.fold)
            )
            for length, kept in zip(features.shape[2:], (rows.kept(), columns.kept()), strict=True)
        )
        return np.concatenate(
            [np.concatenate([finish(self._piece(features, r, c)) for c in across], 1) for r in down]
        )

    def _piece(self, features: Tensor, rows: Span, columns: Span) -> Tensor:
        y = self.enlarge(features[:, :, rows.seen, columns.seen])
        return y[:, :, rows.kept(4), columns.kept(4)]

    def convolutions(self) -> Iterator[tuple[str, nn.Conv2d]]:
        """Yield all convolutions by name, in the order in which they run."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d):
                yield name, module


def load_rrdbnet(weights: Mapping[str, Any]) -> RRDBNet:
    """Return a network with these weights: a state dict, or a checkpoint that holds one.

    Raises WeightsInvalid, which names the key, for the weights of another network.
    """
    state = _unwrap(weights)
    config = infer_config(state)
    with torch.device("meta"):
        network = RRDBNet(config)
    load_strictly(network, state, "RRDBNet")
    return network


def infer_config(state: Mapping[str, Any]) -> RRDBConfig:
    """Infer the sizes from the shapes. Raises WeightsInvalid for another network."""
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
    """Return the averaged weights of a checkpoint (``params_ema``), else the plain ones."""
    for key in ("params_ema", "params"):
        inner = weights.get(key)
        if isinstance(inner, Mapping):
            return inner
    return weights


def _widths(state: Mapping[str, Any], key: str) -> tuple[int, int]:
    """Return the output and input channels of a 3x3 convolution."""
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


def _pieces(span: Span) -> list[Span]:
    return span.parts(-(-(span.stop - span.start) // _PIECE_PX))
