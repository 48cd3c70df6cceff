"""Small models as files that `load_restorer` loads."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from worker.engine.gpen.networks import Generator, GpenConfig
from worker.training.identity_start import start_from_identity

#: The smallest that can be made to answer its input.
SQUARE = GpenConfig(128, 128, 1, 0.05)


def save_model(
    folder: Path, name: str, config: GpenConfig = SQUARE, *, unchanging: bool = False, **about: str
) -> Path:
    """A generator of random weights (always the same), or one that returns its input.

    At random weights nothing of the encoder would arrive: its weights are set to one.
    """
    torch.manual_seed(11)
    generator = Generator(config)
    for key, parameter in generator.named_parameters():
        if key.endswith("noise.weight"):
            parameter.data.fill_(1.0)
    if unchanging:
        start_from_identity(generator)
    path = folder / f"{name}.safetensors"
    tensors = {key: value.clone().contiguous() for key, value in generator.state_dict().items()}
    save_file(tensors, path, metadata={"template": "ffhq", **about})
    return path
