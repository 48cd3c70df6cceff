"""Loads a restorer: from the name of a model to its networks on a device."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from shared.errors import ModelUnavailable, WeightsInvalid, WeightsMissing
from worker.engine.backends.artifact_cache import ArtifactCache
from worker.engine.backends.backend_selection import (
    artifact_folder,
    first_choice,
    is_installed,
    load_backend,
)
from worker.engine.backends.graph import GRAPH_BACKENDS, load_graph
from worker.engine.background import MAX_PIXELS
from worker.engine.batching.batcher import OnBatch
from worker.engine.devices import CPU, Device, choose_device, has_gpu_driver
from worker.engine.faces.detector import DetectorNetwork, FaceDetector
from worker.engine.faces.parsing import load_parser
from worker.engine.load_enlarger import load_enlarger
from worker.engine.restorer import Restorer
from worker.engine.results import ModelInfo
from worker.weights.catalogue import BETTER_DETECTOR, CATALOGUE, DETECTOR, find_entry, template_of
from worker.weights.model_entry import ModelEntry, require_licence
from worker.weights.safe_loading import errors_name_file, load_state
from worker.weights.verification import verified_path

if TYPE_CHECKING:
    from worker.engine.faces.retinaface import RetinaFaceNetwork

_log = logging.getLogger(__name__)


def import_runtime() -> None:
    """Import what the models of this machine will run in, as far as this is known beforehand."""
    on_cpu = is_installed("openvino") and not has_gpu_driver()
    importlib.import_module("openvino" if on_cpu else "torch")


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
    on_batch: OnBatch = lambda _report: None,
    max_output_pixels: int = MAX_PIXELS,
) -> Restorer:
    """Load a model and its face detector onto a device.

    Raises ModelUnavailable (an unknown model, a device that is missing, a backend that is not
    installed or fails its self-check; with ``allow_fallback`` the next backend is tried),
    WeightsMissing, WeightsInvalid or LicenceNotAccepted. The batch size is the best that was
    measured, and at most ``max_batch``; ``on_batch`` receives each batch that has run. If the
    weights are in ``models_dir``, the ResNet-50 detector and ParseNet's masks are used. The network
    for backgrounds is loaded at its first use; it makes no picture of more than
    ``max_output_pixels``.
    """
    chosen_device = choose_device(device)
    artifacts = open_artifact_cache(
        model, models_dir=models_dir, accepted_licences=accepted_licences
    )
    entry = find_entry(model, models_dir)
    template = template_of(entry, artifacts.weights)
    first = first_choice(artifacts, chosen_device, backend, precision)
    with ThreadPoolExecutor(1) as second_thread:  # it loads the detector while the backend compiles
        detecting = second_thread.submit(load_detector, models_dir, chosen_device, first)
        if first not in GRAPH_BACKENDS:  # then the detector is in torch
            detecting.result()  # before a backend may import torch's compiler
        network, batch = load_backend(
            artifacts,
            chosen_device,
            backend=backend,
            precision=precision,
            allow_fallback=allow_fallback,
        )
        detector = _detector(detecting, models_dir, chosen_device, allow_fallback=allow_fallback)
    if not network.batches:
        max_batch = 1
    batch = min(batch or 1, max_batch)
    info = ModelInfo(
        name=model,
        sha256=artifacts.sha256,
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


def _detector(
    detecting: Future[FaceDetector], models_dir: Path, device: Device, *, allow_fallback: bool
) -> FaceDetector:
    """Return the detector; with ``allow_fallback`` in torch, if its backend cannot run it."""
    try:
        return detecting.result()
    except (WeightsInvalid, WeightsMissing):
        raise
    except ModelUnavailable as problem:
        if not allow_fallback:
            raise
        _log.warning("detector in torch: %s", problem.detail)
        return load_detector(models_dir, device)


def open_artifact_cache(
    model: str, *, models_dir: Path, accepted_licences: Collection[str] = ()
) -> ArtifactCache:
    """Verify the weights of a model and return the cache of their artifacts.

    Raises ModelUnavailable, WeightsMissing, WeightsInvalid or LicenceNotAccepted.
    """
    entry = find_entry(model, models_dir)
    if entry.kind != "restorer":
        raise ModelUnavailable(f"{model} is a {entry.kind}, it does not restore faces")
    require_licence(entry, accepted_licences)
    return artifacts_of(entry, models_dir, *verified_path(entry, models_dir))


def artifacts_of(entry: ModelEntry, models_dir: Path, weights: Path, sha256: str) -> ArtifactCache:
    """Return the cache of the artifacts of this file, which has this hash."""
    folder = artifact_folder(models_dir)
    if entry.format == "onnx":
        from worker.engine.brought_models.onnx_artifacts import OnnxArtifacts  # noqa: PLC0415 - rare

        return OnnxArtifacts(folder, weights, sha256, entry)
    if entry.format == "spandrel":
        from worker.engine.brought_models.spandrel_artifacts import (  # noqa: PLC0415 - rare
            SpandrelArtifacts,
        )

        return SpandrelArtifacts(folder, weights, sha256, entry)
    return ArtifactCache(folder, weights, sha256)


def load_detector(models_dir: Path, device: Device, backend: str = "torch") -> FaceDetector:
    """Load RetinaFace ResNet-50 if its file is in ``models_dir``, else the bundled mobilenet0.25.

    On the CPU, ``openvino`` and ``onnxruntime`` run an exported graph, which is made at the first
    use; everything else runs the network in torch. Raises WeightsInvalid if the file has the wrong
    hash or holds another network, ModelUnavailable if the graph cannot be exported or loaded.
    """
    entry, path, sha256 = _detector_weights(models_dir)
    if device.type == "cpu" and backend in GRAPH_BACKENDS:
        artifacts = ArtifactCache(artifact_folder(models_dir), path, sha256)
        file = artifacts.made(".onnx", partial(_export_detector, models_dir, backend))
        return FaceDetector(cast("DetectorNetwork", load_graph(backend, file)), entry.name)
    return FaceDetector(load_detector_network(models_dir, device), entry.name)


def load_detector_network(models_dir: Path, device: Device) -> RetinaFaceNetwork:
    """Load the network of `load_detector` in torch. Raises WeightsInvalid."""
    from worker.engine.faces.retinaface import build_network  # noqa: PLC0415 - needs torch

    entry, path, _ = _detector_weights(models_dir)
    with errors_name_file(path):
        return build_network(entry.name, load_state(path), device)


def _detector_weights(models_dir: Path) -> tuple[ModelEntry, Path, str]:
    entry = CATALOGUE[BETTER_DETECTOR]
    if not entry.path(models_dir).is_file():
        entry = CATALOGUE[DETECTOR]
    return entry, *verified_path(entry, models_dir)


def _export_detector(models_dir: Path, backend: str, file: Path) -> None:
    from worker.engine.faces.retinaface import require_equal  # noqa: PLC0415 - needs torch

    network = load_detector_network(models_dir, CPU)
    network.export(file)
    require_equal(cast("DetectorNetwork", load_graph(backend, file)), network)
