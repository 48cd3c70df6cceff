"""Every backend that is installed, in float32 and in what the hardware has besides."""

from __future__ import annotations

from pathlib import Path

import torch

from worker.engine.backends import Backend
from worker.engine.backends.artifact_cache import Shelf
from worker.engine.backends.selection import is_installed, load_backend, precisions
from worker.engine.devices import choose_precision
from worker.engine.load import open_shelf

CPU = torch.device("cpu")


def open_backends(models_dir: Path, size_px: int) -> dict[str, Backend]:
    """By a name that says precision too; each with weights of its own."""
    found: dict[str, Backend] = {}
    kept = open_shelf(f"golden-{size_px}", models_dir=models_dir)
    for name in ("torch", "onnxruntime", "openvino"):
        for precision in dict.fromkeys(("fp32", choose_precision("auto", CPU))):
            if is_installed(name) and precision in precisions(name, CPU):
                shelf = Shelf(kept.folder, kept.weights, kept.sha256)
                backend, _ = load_backend(shelf, CPU, backend=name, precision=precision)
                found[f"{name} {precision}"] = backend
    return found
