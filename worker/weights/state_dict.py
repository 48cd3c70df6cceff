"""Put a state dict into a network, whole and nothing else, or say which key is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from shared.errors import WeightsInvalid

_SHOWN_KEYS = 5


def load_strictly(network: nn.Module, state: Mapping[str, Any], architecture: str) -> None:
    """Fill ``network``, which may lie on the meta device, in float32; tensors are taken over.

    Raises WeightsInvalid naming the keys that are missing, unknown, or of the wrong shape or type.
    """
    expected = network.state_dict()
    refuse(architecture, "missing", [key for key in expected if key not in state])
    refuse(architecture, "unknown", [key for key in state if key not in expected])
    wrong = [key for key, like in expected.items() if not _fits(state[key], like)]
    refuse(architecture, "of the wrong shape or type", wrong)
    tensors = {key: state[key].detach().float() for key in expected}
    network.load_state_dict(tensors, assign=True)


def _fits(tensor: Any, like: Tensor) -> bool:
    return isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.shape == like.shape


def refuse(architecture: str, what: str, keys: list[str]) -> None:
    """Raise WeightsInvalid naming ``keys``, if there are any."""
    if keys:
        more = len(keys) - _SHOWN_KEYS
        shown = ", ".join(keys[:_SHOWN_KEYS]) + (f" and {more} more" if more > 0 else "")
        raise WeightsInvalid(f"these weights are not {architecture}'s: {what}: {shown}")
