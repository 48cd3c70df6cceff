"""Checks the first output of a restorer of others."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shared.errors import WeightsInvalid
from worker.engine.backends.backend import Images
from worker.weights.model_entry import ModelEntry

#: A picture of bright and dark patches must stay one, and a network may exceed its range a little.
_DARK, _BRIGHT, _OUTSIDE, _FEW = -0.25, 0.25, 1.5, 0.01


def require_picture(weights: Path, found: Images, entry: ModelEntry) -> None:
    """Raise WeightsInvalid unless ``found``, scaled to [-1, 1], is a picture as ``entry`` says."""
    side = entry.out_px
    if found.shape != (1, 3, side, side):
        raise WeightsInvalid(
            f"{weights}: its output has the shape {found.shape}; (1, 3, {side}, {side}) is expected"
        )
    if not np.isfinite(found).all():
        raise WeightsInvalid(f"{weights}: its output is not finite for an ordinary picture")
    low, high = float(found.min()), float(found.max())
    too_far = float((np.abs(found) > _OUTSIDE).mean()) > _FEW
    if too_far or low > _DARK or high < _BRIGHT:
        bounds = [float(each) for each in entry.value_range.split("..")]
        middle, half = sum(bounds) / 2, (bounds[1] - bounds[0]) / 2
        cure = ". State another one with --range" if entry.format == "onnx" else ""
        raise WeightsInvalid(
            f"{weights}: its output goes from {low * half + middle:.3g} to "
            f"{high * half + middle:.3g} for a picture of all brightnesses; this is not the range "
            f"{entry.value_range}{cure}"
        )
