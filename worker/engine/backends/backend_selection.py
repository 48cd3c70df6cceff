"""Selects the backend and its precision: the ones asked for, or the fastest that was measured."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from shared.errors import ModelUnavailable
from worker.engine.backends.artifact_cache import ArtifactCache
from worker.engine.backends.backend import INSTALL, Backend
from worker.engine.backends.measured_times import MeasuredTime, fastest_first, read_measured_times
from worker.engine.backends.no_telemetry import disable_telemetry
from worker.engine.devices import Device, choose_precision

_log = logging.getLogger(__name__)
_PACKAGES = {
    "torch": "torch",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "tensorrt": "tensorrt",
}
_PRECISIONS = {
    ("torch", "cpu"): ("fp32", "bf16", "fp16"),
    ("torch", "cuda"): ("fp32", "bf16", "fp16"),
    ("torch", "mps"): ("fp32", "bf16", "fp16"),
    ("onnxruntime", "cpu"): ("fp32",),
    ("onnxruntime", "cuda"): ("fp32",),
    ("openvino", "cpu"): ("fp32", "bf16"),
    ("tensorrt", "cuda"): ("fp32", "bf16", "fp16"),
}


def is_installed(name: str) -> bool:
    """Return whether the backend's package is installed; the package is not imported."""
    return find_spec(_PACKAGES[name]) is not None


def precisions(name: str, device: Device) -> tuple[str, ...]:
    """Return the precisions of the backend on such a device; empty if it does not run there."""
    return _PRECISIONS.get((name, device.type), ())


def load_backend(
    artifacts: ArtifactCache,
    device: Device,
    *,
    backend: str = "auto",
    precision: str = "auto",
    allow_fallback: bool = False,
) -> tuple[Backend, int | None]:
    """Return a backend that has passed its self-check, and its best batch size if it was measured.

    ``auto`` selects the installed backend with the shortest measured time; without measured times,
    torch. Raises ModelUnavailable with the reasons; with ``allow_fallback`` the next backend is
    tried first.
    """
    times = _times(artifacts, device)
    order = _order(artifacts, device, times, backend, precision)
    refused = []
    for name, chosen in order if allow_fallback else order[:1]:
        try:
            loaded = _load(name, artifacts, device, chosen)
            error = artifacts.self_check.run(loaded)
        except ModelUnavailable as problem:
            _log.warning("backend refused: %s", problem.detail)
            refused.append(problem.detail)
            continue
        _log.info("backend %s in %s passes its self-check: error %.2g", name, chosen, error)
        batches = [each.batch for each in times if (each.backend, each.precision) == (name, chosen)]
        return loaded, batches[0] if batches else None
    raise ModelUnavailable("; ".join(refused))


def first_choice(artifacts: ArtifactCache, device: Device, backend: str, precision: str) -> str:
    """Return the backend that `load_backend` tries first. Raises ModelUnavailable."""
    return _order(artifacts, device, _times(artifacts, device), backend, precision)[0][0]


def _order(
    artifacts: ArtifactCache,
    device: Device,
    times: list[MeasuredTime],
    backend: str,
    precision: str,
) -> list[tuple[str, str]]:
    if precision == "auto":
        precision = artifacts.usual_precision
    return plan(backend, precision, device, times, artifacts.backends)


def _times(artifacts: ArtifactCache, device: Device) -> list[MeasuredTime]:
    return fastest_first(read_measured_times(artifacts.folder), device, artifacts.self_check.in_px)


def plan(
    backend: str,
    precision: str,
    device: Device,
    times: list[MeasuredTime],
    able: Sequence[str] = tuple(INSTALL),
) -> list[tuple[str, str]]:
    """Return pairs of backend and precision, the first choice first.

    ``able`` are the backends that can run the weights.
    Raises ModelUnavailable for a backend or a precision that cannot be used.
    """
    wanted = choose_precision(precision, device)
    measured = [each.backend for each in times if each.precision == wanted]
    usable = [name for name in able if is_installed(name) and precisions(name, device)]
    if not usable:
        cures = " or ".join(INSTALL[name] for name in able if precisions(name, device))
        raise ModelUnavailable(f"no installed backend runs this model on {device}: {cures}")
    names = list(dict.fromkeys((*(name for name in measured if name in usable), usable[0])))
    if backend != "auto":
        _require(backend, device, able)
        names = list(dict.fromkeys((backend, *names)))
    found = [(name, wanted) for name in names if wanted in precisions(name, device)]
    if precision == "auto":  # float32 is acceptable too, and every backend has it
        first = [(backend, "fp32")] if backend != "auto" and (backend, wanted) not in found else []
        found = list(dict.fromkeys((*first, *found, *((name, "fp32") for name in names))))
    elif backend != "auto" and (backend, wanted) not in found:
        known = ", ".join(precisions(backend, device))
        raise ModelUnavailable(f"backend {backend} on {device} computes in {known}, not {wanted}")
    return found


def _require(backend: str, device: Device, able: Sequence[str]) -> None:
    if backend not in INSTALL:
        raise ModelUnavailable(f"there is no backend {backend!r}; known are {', '.join(INSTALL)}")
    if backend not in able:
        raise ModelUnavailable(
            f"backend {backend} does not run this model; {' and '.join(able)} can"
        )
    if not is_installed(backend):
        raise ModelUnavailable(f"backend {backend} is not installed: {INSTALL[backend]}")
    if not precisions(backend, device):
        raise ModelUnavailable(f"backend {backend} does not run on {device}")


def _load(name: str, artifacts: ArtifactCache, device: Device, precision: str) -> Backend:
    if name == "torch":
        from worker.engine.backends.torch_backend import TorchBackend  # noqa: PLC0415 - needs torch

        return TorchBackend(artifacts.generator, device, precision)
    disable_telemetry()
    if name == "openvino":
        from worker.engine.backends.openvino_backend import OpenVinoBackend  # noqa: PLC0415 - optional

        return OpenVinoBackend(artifacts.export("openvino"), device, precision)
    from worker.engine.backends.onnxruntime_backend import OnnxRuntimeBackend  # noqa: PLC0415 - optional

    return OnnxRuntimeBackend(artifacts.export("onnx"), device, precision, name)


def artifact_folder(models_dir: Path) -> Path:
    """Return the folder of the artifact cache for the weights in ``models_dir``."""
    return models_dir / "exported"
