"""The one door to spandrel: from a state dict to the network that it is for."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from shared.errors import ModelUnavailable, WeightsInvalid


def load_descriptor(state: dict[str, Any], what: str, only: Sequence[str] = ()) -> Any:
    """Return spandrel's descriptor of the network with these weights, on the CPU.

    ``only``: the architectures to choose from; all that spandrel knows by default. ``what`` names
    them in the error. Raises WeightsInvalid if it is none of them, or if weights are missing,
    ModelUnavailable if spandrel is not installed.
    """
    from worker.engine.faces.torchvision_compat import import_torchvision  # noqa: PLC0415 - torch

    import_torchvision()  # spandrel imports it
    try:
        import spandrel  # noqa: PLC0415 - optional
    except ImportError as missing:
        raise ModelUnavailable(
            f"{missing.name} is not installed; run: pip install 'facemend[spandrel]'"
        ) from None
    registry = spandrel.MAIN_REGISTRY
    if only:
        registry = spandrel.ArchRegistry()
        registry.add(*(spandrel.MAIN_REGISTRY[name] for name in only))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.meshgrid")  # of networks with attention
            return registry.load(state).eval()
    except spandrel.UnsupportedModelError:
        raise WeightsInvalid(f"these weights are not {what}") from None
    except Exception as error:  # noqa: BLE001 - a wrong shape or key raises any error
        reason = " ".join(str(error).split())
        raise WeightsInvalid(f"these weights cannot be loaded: {reason:.300}") from None
