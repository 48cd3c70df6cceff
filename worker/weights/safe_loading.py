"""Reads weight files without running code in them, and loads them strictly into networks."""

from __future__ import annotations

import contextlib
import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from shared.errors import WeightsInvalid

if TYPE_CHECKING:
    from torch import Tensor, nn

_SHOWN_KEYS = 5


def metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file; raise WeightsInvalid for any other file."""
    try:
        with safe_open(path, framework="np") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise WeightsInvalid(f"{path} cannot be read as safetensors: {error!s:.200}") from None


def load_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict on the CPU from safetensors, or from a torch file with data alone.

    Raises WeightsInvalid for a damaged file, and for a pickle that would run code.
    """
    import torch  # noqa: PLC0415 - lists and downloads do not need torch
    from safetensors.torch import load_file  # noqa: PLC0415 - the same

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch's message explains how to run the code inside
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        asks = f", it asks for {wanted[1]}" if wanted else ""
        raise WeightsInvalid(
            f"{path} is not a plain file of tensors{asks}: nothing in it was loaded or run"
        ) from None
    except Exception as error:  # noqa: BLE001 - an unpickler may raise any error
        raise WeightsInvalid(f"{path} cannot be read as weights: {error!s:.200}") from None
    if not isinstance(state, dict):
        raise WeightsInvalid(f"{path} holds no state dict")
    return state


@contextlib.contextmanager
def errors_name_file(path: Path) -> Iterator[None]:
    """Put the name of the file into any WeightsInvalid that the block raises."""
    try:
        yield
    except WeightsInvalid as error:
        if str(path) in error.detail:
            raise
        raise WeightsInvalid(f"{path}: {error.detail}") from None


def load_strictly(network: nn.Module, state: Mapping[str, Any], architecture: str) -> None:
    """Fill ``network``, which may be on the meta device, in float32; float32 tensors are shared.

    Raises WeightsInvalid, which names the keys that are missing, unknown, or of the wrong shape or
    type. ``architecture`` is the network's name in the error.
    """
    expected = network.state_dict()
    refuse(architecture, "missing", [key for key in expected if key not in state])
    refuse(architecture, "unknown", [key for key in state if key not in expected])
    wrong = [key for key, like in expected.items() if not _fits(state[key], like)]
    refuse(architecture, "of the wrong shape or type", wrong)
    tensors = {key: state[key].detach().float() for key in expected}
    network.load_state_dict(tensors, assign=True)


def _fits(tensor: Any, like: Tensor) -> bool:
    from torch import Tensor  # noqa: PLC0415 - the same

    return isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.shape == like.shape


def refuse(architecture: str, what: str, keys: list[str]) -> None:
    """Raise WeightsInvalid if there are any ``keys``; ``what`` says what is wrong with them."""
    if keys:
        more = len(keys) - _SHOWN_KEYS
        shown = ", ".join(keys[:_SHOWN_KEYS]) + (f" and {more} more" if more > 0 else "")
        raise WeightsInvalid(f"these weights are not {architecture}'s: {what}: {shown}")
