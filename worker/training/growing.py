"""A network of twice the size that starts from a trained smaller one (progressive growing).

GPEN's levels are nested: the decoder of a 128 px network is the inner part of a 256 px one, and so
is its encoder. The grown network first returns what the smaller one returns for the image at half
the size, enlarged; training then adds the finer level. On a CPU the smaller network learns about
twice as fast per photo.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from shared.errors import SettingsInvalid
from worker.engine.gpen.layers import ModulatedConv2d
from worker.engine.gpen.networks import Generator, GpenConfig

# leaky_relu of x minus that of -x, times sqrt(2): 1.2 sqrt(2) x.
_GAIN = 1.2 * math.sqrt(2.0)


@torch.no_grad()
def grow(small: Generator) -> Generator:
    """Return a generator of twice the size that answers as ``small`` does, enlarged.

    Raises SettingsInvalid for a super-resolving network, or one too narrow to carry the colours.
    """
    config = small.config
    grown_config = replace(config, in_size=2 * config.in_size, size=2 * config.size)
    if config.in_size != config.size or grown_config.channels(grown_config.size) < 6:
        raise SettingsInvalid(
            f"a network of {config.size} px and {grown_config.channels(grown_config.size)} "
            "channels at twice that cannot be grown"
        )
    grown = Generator(grown_config)
    kept = {_name_in_grown(key): tensor for key, tensor in small.state_dict().items()}
    kept = {key: tensor for key, tensor in kept.items() if key is not None}
    grown.load_state_dict(cast("dict[str, Tensor]", kept), strict=False)
    _carry_colours(grown, small)
    last = len(grown.generator.to_rgbs) - 1
    leave = cast(ModulatedConv2d, grown.generator.get_submodule(f"to_rgbs.{last}.conv"))
    leave.weight.zero_()
    for name, parameter in grown.generator.named_parameters():
        if re.match(rf"convs\.({2 * last}|{2 * last + 1})\.noise", name):
            parameter.fill_(1.0)
    return grown


def grow_to(generator: Generator, config: GpenConfig) -> Generator:
    """Grow until the size of ``config`` is reached.

    Raises SettingsInvalid if growing does not lead to ``config``.
    """
    while generator.config.size < config.size:
        generator = grow(generator)
    if replace(generator.config, finish=config.finish) != config:
        raise SettingsInvalid(
            f"the weights are of another network: {generator.config}, where the options ask for "
            f"{config}"
        )
    return generator


def _name_in_grown(key: str) -> str | None:
    """The encoder counts from the finest level, which is new; the decoder from the coarsest."""
    match = re.match(r"ecd(\d+)\.(.*)", key)
    if match is None:
        return key
    level = int(match[1])
    return f"ecd{level + 1}.{match[2]}" if level else None


def _carry_colours(grown: Generator, small: Generator) -> None:
    """Let the two new encoder levels do what the first level of ``small`` did at half the size."""
    entry = grown.get_parameter("ecd0.0.0.weight")
    shrink = grown.get_parameter("ecd1.0.1.weight")
    first = small.get_parameter("ecd0.0.0.weight")
    scale = shrink[0].numel() ** -0.5  # what the layer multiplies its weights by
    shrink.zero_()
    for colour in range(3):
        for sign, channel in ((1.0, 2 * colour), (-1.0, 2 * colour + 1)):
            entry[channel] = 0.0
            entry[channel, colour] = sign * math.sqrt(3.0)
            weights = first[:, colour, 0, 0] * (sign / (_GAIN * math.sqrt(3.0) * scale))
            shrink[:, channel, 1, 1] = weights
    bias = grown.get_parameter("ecd1.0.2.bias")
    bias.copy_(small.get_parameter("ecd0.0.1.bias"))
    grown.get_parameter("ecd0.0.1.bias").zero_()
