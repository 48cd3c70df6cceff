"""Which backend, in which precision: asked for by name, or the fastest one measured."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path

import torch

from shared.errors import ModelUnavailable
from worker.engine.backends import INSTALL, Backend
from worker.engine.backends.artifact_cache import Shelf
from worker.engine.backends.measured_times import Figure, fastest_first, read_figures
from worker.engine.backends.torch_backend import Network
from worker.engine.devices import choose_precision

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
    """Whether the backend's package is here; nothing is imported."""
    return find_spec(_PACKAGES[name]) is not None


def precisions(name: str, device: torch.device) -> tuple[str, ...]:
    """What the backend can compute in on such a device; nothing where it does not run."""
    return _PRECISIONS.get((name, device.type), ())


def load_backend(
    shelf: Shelf,
    device: torch.device,
    *,
    backend: str = "auto",
    precision: str = "auto",
    allow_fallback: bool = False,
) -> tuple[Backend, int | None]:
    """A backend that has passed its self-check, and the batch size measured best for it, if any.

    ``auto`` is the fastest by the figures among those installed; where nothing was measured, torch.
    Raises ModelUnavailable with the reasons; only with ``allow_fallback`` is the next one tried.
    """
    size_px = shelf.proof.in_px
    figures = fastest_first(read_figures(shelf.folder), device, size_px)
    order = plan(backend, precision, device, figures)
    refused = []
    for name, chosen in order if allow_fallback else order[:1]:
        try:
            made = _make(name, shelf, device, chosen)
            error = shelf.proof.check(made)
        except ModelUnavailable as problem:
            _log.warning("backend refused: %s", problem.detail)
            refused.append(problem.detail)
            continue
        _log.info("backend %s in %s passes its self-check: error %.2g", name, chosen, error)
        batches = [
            each.batch for each in figures if (each.backend, each.precision) == (name, chosen)
        ]
        return made, batches[0] if batches else None
    raise ModelUnavailable("; ".join(refused))


def plan(
    backend: str, precision: str, device: torch.device, figures: list[Figure]
) -> list[tuple[str, str]]:
    """Backend and precision, first choice first; what cannot be meant raises ModelUnavailable."""
    wanted = choose_precision(precision, device)
    measured = [each.backend for each in figures if each.precision == wanted]
    names = [name for name in dict.fromkeys((*measured, "torch")) if is_installed(name)]
    if backend != "auto":
        _require(backend, device)
        names = list(dict.fromkeys((backend, *names)))
    found = [(name, wanted) for name in names if wanted in precisions(name, device)]
    if precision == "auto":  # then float32, which every backend has, will do as well
        first = [(backend, "fp32")] if backend != "auto" and (backend, wanted) not in found else []
        found = list(dict.fromkeys((*first, *found, *((name, "fp32") for name in names))))
    elif backend != "auto" and (backend, wanted) not in found:
        known = ", ".join(precisions(backend, device))
        raise ModelUnavailable(f"backend {backend} on {device} computes in {known}, not {wanted}")
    return found


def _require(backend: str, device: torch.device) -> None:
    if backend not in INSTALL:
        raise ModelUnavailable(f"there is no backend {backend!r}; known are {', '.join(INSTALL)}")
    if not is_installed(backend):
        raise ModelUnavailable(f"backend {backend} is not installed: {INSTALL[backend]}")
    if not precisions(backend, device):
        raise ModelUnavailable(f"backend {backend} does not run on {device}")


def _make(name: str, shelf: Shelf, device: torch.device, precision: str) -> Backend:
    if name == "torch":
        return Network(shelf.generator, device, precision)
    if name == "openvino":
        from worker.engine.backends.openvino_backend import OpenVinoBackend  # noqa: PLC0415 - optional

        return OpenVinoBackend(shelf.export("openvino"), device, precision)
    from worker.engine.backends.onnxruntime_backend import OnnxRuntimeBackend  # noqa: PLC0415 - optional

    return OnnxRuntimeBackend(shelf.export("onnx"), device, precision, name)


def shelf_folder(models_dir: Path) -> Path:
    """Where what is made of the weights in ``models_dir`` is kept."""
    return models_dir / "exported"
