"""From a model's name to a restorer on a device."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from shared.errors import ModelUnavailable
from worker.engine.backends.artifact_cache import Shelf
from worker.engine.backends.selection import load_backend, shelf_folder
from worker.engine.background import MAX_PIXELS, load_enlarger
from worker.engine.batching.batcher import OnBatch
from worker.engine.devices import choose_device
from worker.engine.faces.detector import FaceDetector, build_detector
from worker.engine.faces.parsing import load_parser
from worker.engine.faces.torchvision_ops import import_torchvision
from worker.engine.restoration import ModelInfo
from worker.engine.restorer import Restorer
from worker.weights.catalogue import BETTER_DETECTOR, CATALOGUE, DETECTOR
from worker.weights.files import (
    checked_path,
    find_entry,
    load_state,
    of_file,
    require_licence,
    template_of,
)


def load_restorer(
    model: str,
    *,
    models_dir: Path,
    device: str = "auto",
    precision: str = "auto",
    backend: str = "auto",
    allow_fallback: bool = False,
    accepted_licences: Collection[str] = (),
    max_batch: int = 16,
    max_batch_wait_ms: float = 5.0,
    on_batch: OnBatch = lambda _waits_s: None,
    max_output_pixels: int = MAX_PIXELS,
) -> Restorer:
    """Load a model and its detector onto a device.

    Raises ModelUnavailable (unknown model, device not there, a backend that is not installed or
    fails its self-check; with ``allow_fallback`` the next one is tried), WeightsMissing,
    WeightsInvalid or LicenceNotAccepted. Batches have the size measured best, never more than
    ``max_batch``; ``on_batch`` is told of each, see batching. The ResNet-50 detector is taken when
    its file is in ``models_dir``, and masks are ParseNet's when its is. What enlarges backgrounds
    is loaded when a photo first asks for it, and makes no picture of more than
    ``max_output_pixels``.
    """
    chosen_device = choose_device(device)
    with ThreadPoolExecutor(1) as beside:  # half a second of imports, while the backend compiles
        importing = beside.submit(import_torchvision)
        detecting = beside.submit(load_detector, models_dir, chosen_device)
        shelf = open_shelf(model, models_dir=models_dir, accepted_licences=accepted_licences)
        importing.result()  # before a backend may want torch's compiler
        entry = find_entry(model, models_dir)
        template = template_of(entry, shelf.weights)
        network, batch = load_backend(
            shelf,
            chosen_device,
            backend=backend,
            precision=precision,
            allow_fallback=allow_fallback,
        )
        detector = detecting.result()
    batch = min(batch or 1, max_batch)
    info = ModelInfo(
        name=model,
        sha256=shelf.sha256,
        size_px=network.out_px,
        licence=entry.licence,
        template=template,
        precision=network.precision,
        backend=network.name,
        device=str(chosen_device),
        detector=detector.name,
        batch=batch,
        task=entry.task,
    )
    enlarger = load_enlarger(
        models_dir,
        chosen_device,
        precision,
        accepted_licences=accepted_licences,
        max_pixels=max_output_pixels,
    )
    return Restorer(
        network,
        detector,
        info,
        max_batch=batch,
        max_batch_wait_ms=max_batch_wait_ms,
        batch_limit=max_batch,
        on_batch=on_batch,
        enlarger=enlarger,
        parser=load_parser(models_dir, chosen_device, accepted_licences=accepted_licences),
    )


def open_shelf(model: str, *, models_dir: Path, accepted_licences: Collection[str] = ()) -> Shelf:
    """The model's weights, checked, and the place of what is made of them.

    Raises ModelUnavailable, WeightsMissing, WeightsInvalid or LicenceNotAccepted.
    """
    entry = find_entry(model, models_dir)
    if entry.kind != "restorer":
        raise ModelUnavailable(f"{model} is a {entry.kind}, it does not restore faces")
    require_licence(entry, accepted_licences)
    return Shelf(shelf_folder(models_dir), *checked_path(entry, models_dir))


def load_detector(models_dir: Path, device: torch.device) -> FaceDetector:
    """RetinaFace ResNet-50 when its file is in ``models_dir``, else the embedded mobilenet0.25.

    Raises WeightsInvalid when the file is not what it should be.
    """
    entry = CATALOGUE[BETTER_DETECTOR]
    if not entry.path(models_dir).is_file():
        entry = CATALOGUE[DETECTOR]
    path, _ = checked_path(entry, models_dir)
    with of_file(path):
        return build_detector(entry.name, load_state(path), device)
