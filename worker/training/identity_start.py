"""A generator that starts by answering its input, so that training only learns the difference.

From random weights a small network needs hundreds of steps to reach the quality of its own input.
But the encoder's first features run straight to the last RGB layer; carrying the photo through them
is a matter of weights, not of architecture, so the file format does not change.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor

from worker.engine.gpen.layers import ModulatedConv2d
from worker.engine.gpen.networks import Generator

# leaky_relu twice, times sqrt(2) twice: x > 0 gives 2x, x < 0 gives 0.08x; +x minus -x gives 2.08x.
_GAIN = 2.08


@torch.no_grad()
def start_from_identity(generator: Generator) -> None:
    """Set weights such that `generator(x) == x`; needs `in_size == size` and 6 channels at it."""
    config = generator.config
    width = config.channels(config.size)
    if config.in_size != config.size or width < 6:
        raise ValueError(f"no identity start for {config}: sizes differ or under 6 channels")
    decoder = generator.generator
    for name, parameter in decoder.named_parameters():
        if name.endswith("noise.weight"):
            parameter.fill_(1.0)
    for layer in (decoder.to_rgb1, *decoder.to_rgbs):
        layer.conv.weight.zero_()
    last = f"to_rgbs.{len(decoder.to_rgbs) - 1}.conv"
    entry, leave = generator.get_parameter("ecd0.0.0.weight"), decoder.get_submodule(last)
    _carry(entry, cast(ModulatedConv2d, leave), width)


def _carry(entry: Tensor, leave: ModulatedConv2d, width: int) -> None:
    """Each colour goes in twice, as itself and negated, and comes out as their difference."""
    for colour in range(3):
        for sign, channel in ((1.0, 2 * colour), (-1.0, 2 * colour + 1)):
            entry[channel] = 0.0
            entry[channel, colour] = sign * math.sqrt(3.0)
            leave.weight[0, colour, width + channel] = sign / (_GAIN * leave.scale)
            leave.modulation.weight[width + channel] = 0.0
