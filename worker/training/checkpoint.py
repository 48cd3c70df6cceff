"""Weights on disk: a training's whole state, and the small file that is served.

A checkpoint is a torch file laid out like the published ones (`g_ema`, `g`, `d`, optimizers), read
without running anything in it. The exported file is safetensors in half precision.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from shared.atomic_file import replaced_atomically
from shared.errors import TrainingFailed, WeightsInvalid
from worker.engine.gpen.networks import Generator, load_generator


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write the file whole or not at all: a kill in the middle leaves the previous file.

    Raises TrainingFailed if it cannot be written; the previous file stays as it is.
    """
    _write_whole(path, lambda partial: torch.save(dict(state), partial))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint or a bare state dict, from a torch or a safetensors file."""
    if not path.is_file():
        raise WeightsInvalid(f"no weights at {path}")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except pickle.UnpicklingError as error:  # torch's own text tells how to run what is inside
        raise WeightsInvalid(f"{path} is not a plain file of tensors: not loaded") from error
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError) as error:
        raise WeightsInvalid(f"{path} cannot be read as weights: {error}") from error


def read_generator(path: Path) -> Generator:
    """The generator in a file: the averaged one (`g_ema`), if the file is a checkpoint."""
    return load_generator(read_checkpoint(path))


def export_generator(generator: nn.Module, path: Path, metadata: Mapping[str, str]) -> None:
    """Write half-precision safetensors with metadata; loading them brings float32 back.

    Raises WeightsInvalid for weights that do not fit into half precision, and TrainingFailed if
    the file cannot be written.
    """
    tensors = {key: _half(key, tensor) for key, tensor in generator.state_dict().items()}

    def write(partial: Path) -> None:
        save_file(tensors, partial, metadata=dict(metadata))
        partial.chmod(0o644)  # safetensors writes for the owner alone; a service runs as another

    _write_whole(path, write)


def _write_whole(path: Path, write: Callable[[Path], None]) -> None:
    try:
        with replaced_atomically(path) as unfinished:
            write(unfinished)
            with unfinished.open("rb") as file:
                os.fsync(file.fileno())
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors wrap OSError
        kept = f"; {path} is as it was before" if path.is_file() else ""
        raise TrainingFailed(f"{path} cannot be written: {error!s:.200}{kept}") from error


def _half(key: str, tensor: Tensor) -> Tensor:
    half = tensor.detach().to("cpu", torch.float16).contiguous()
    if not bool(torch.isfinite(half).all()):
        raise WeightsInvalid(f"{key} does not fit into half precision: the training has diverged")
    return half
