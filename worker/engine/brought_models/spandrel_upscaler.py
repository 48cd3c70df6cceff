"""Networks for super-resolution that an operator brings, as spandrel reads them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shared.errors import ModelUnavailable, WeightsInvalid
from worker.engine.background.rrdbnet import RRDBConfig, RRDBNet, load_rrdbnet
from worker.engine.background.tiles import Span
from worker.engine.brought_models.spandrel_loading import load_descriptor
from worker.engine.devices import autocast, is_out_of_memory
from worker.weights.safe_loading import errors_name_file, load_state

if TYPE_CHECKING:
    from worker.engine.background.upscaler import Finish, Network, OnStep

#: Attention divides the picture into windows of 7 to 32 px. If tiles begin at multiples of this,
#: they have the windows of the whole picture, except those of 7 px.
_GRID_PX = 32
#: With its margins, a tile has 384 px: the largest networks need 6 GB for it.
_TILE_PX, _MARGIN_PX = 256, 64
_SCALES = (2, 4)
_OTHER_PURPOSES = {
    "FaceSR": "restores faces (if it is GFPGAN or RestoreFormer, add it without --kind)",
    "Inpainting": "fills in a part of a picture",
    "Restoration": "leaves a picture as large as it is",
}


class SpandrelNetwork:
    """A network of spandrel for the upscaler, which sees it as one step.

    It pads its input itself where its architecture needs another size.
    """

    fold, steps = 1, 0
    tile_px, margin_px = _TILE_PX, _MARGIN_PX
    usual_precision = "fp32"

    def __init__(self, descriptor: Any) -> None:
        self._descriptor, self.scale = descriptor, int(descriptor.scale)
        self.grid = math.lcm(_GRID_PX, descriptor.size_requirements.multiple_of)
        self._precision, self._name = "fp32", str(descriptor.architecture.name)

    def place(self, device: torch.device, precision: str) -> None:
        supported = {
            "fp32": True,
            "bf16": self._descriptor.supports_bfloat16,
            "fp16": self._descriptor.supports_half,
        }
        if not supported[precision]:
            raise self._cannot_run(precision)
        self._descriptor.model.eval().requires_grad_(False).to(device)
        self._precision = precision

    def draw(
        self, x: Tensor, rows: Span, columns: Span, finish: Finish, on_step: OnStep
    ) -> NDArray[np.float32]:
        """Enlarge the whole of ``x``. Raises ModelUnavailable if the network cannot run."""
        try:
            with autocast(self._precision, x.device):
                y = self._descriptor(x)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise self._cannot_run(self._precision, error) from None
        if y.shape[2:] != (x.shape[2] * self.scale, x.shape[3] * self.scale):
            raise self._cannot_run(self._precision, f"it returns {y.shape[3]} x {y.shape[2]} px")
        return finish(y[:, :, rows.kept(self.scale), columns.kept(self.scale)].float())

    def _cannot_run(self, precision: str, why: object = None) -> ModelUnavailable:
        advice = "" if precision == "fp32" else "; set FACEMEND_PRECISION=fp32"
        reason = f": {why!s:.200}" if why else ""
        return ModelUnavailable(
            f"the network that enlarges the background ({self._name}) does not run in "
            f"{precision}{reason}{advice}"
        )


def load_upscaler_network(weights: Path) -> Network:
    """Return the network in this file, on the CPU, read without running code in the file.

    Raises WeightsInvalid if it is no network that enlarges colour pictures by 2 or 4,
    ModelUnavailable if spandrel is not installed.
    """
    with errors_name_file(weights):
        descriptor = load_descriptor(
            load_state(weights), "those of a network for super-resolution that spandrel knows"
        )
        _require_enlarging(descriptor)
    return _own(descriptor) or SpandrelNetwork(descriptor)


def _require_enlarging(descriptor: Any) -> None:
    name, purpose = descriptor.architecture.name, descriptor.purpose
    if purpose != "SR":
        raise WeightsInvalid(
            f"this {name} {_OTHER_PURPOSES.get(purpose, purpose)}: a background needs a network "
            "for super-resolution"
        )
    channels = (descriptor.input_channels, descriptor.output_channels)
    if channels != (3, 3):
        raise WeightsInvalid(
            f"this {name} takes {channels[0]} and returns {channels[1]} channels: a background "
            "needs the form for colour, with 3 of each"
        )
    if descriptor.scale not in _SCALES:
        raise WeightsInvalid(
            f"this {name} enlarges {descriptor.scale} times: a background is enlarged 2 or 4 "
            "times, so bring its form for x2 or x4"
        )


def _own(descriptor: Any) -> RRDBNet | None:
    """Return an ESRGAN in Real-ESRGAN's form as our network, which needs a fifth of the memory."""
    layers = [each for each in descriptor.model.modules() if isinstance(each, nn.Conv2d)]
    if descriptor.architecture.id != "ESRGAN" or any(each.kernel_size != (3, 3) for each in layers):
        return None
    fold = descriptor.model.shuffle_factor or 1
    config = RRDBConfig(layers[0].out_channels, layers[1].out_channels, len(layers) // 15, fold)
    with torch.device("meta"):
        names = [name for name, _ in RRDBNet(config).convolutions()]
    if len(names) != len(layers):
        return None
    return load_rrdbnet(
        {
            f"{name}.{part}": getattr(layer, part)
            for name, layer in zip(names, layers, strict=True)
            for part in ("weight", "bias")
        }
    )
