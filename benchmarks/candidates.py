"""Every installed backend, in float32 and in the reduced precision of the hardware."""

from __future__ import annotations

from pathlib import Path

import torch

from worker.engine.backends.artifact_cache import ArtifactCache
from worker.engine.backends.backend import Backend
from worker.engine.backends.backend_selection import is_installed, load_backend, precisions
from worker.engine.devices import choose_precision
from worker.engine.load import open_artifact_cache

CPU = torch.device("cpu")


def open_backends(models_dir: Path, size_px: int) -> dict[str, Backend]:
    """Load each backend with weights of its own; the key is its name and precision."""
    found: dict[str, Backend] = {}
    kept = open_artifact_cache(f"golden-{size_px}", models_dir=models_dir)
    for name in ("torch", "onnxruntime", "openvino"):
        for precision in dict.fromkeys(("fp32", choose_precision("auto", CPU))):
            if is_installed(name) and precision in precisions(name, CPU):
                artifacts = ArtifactCache(kept.folder, kept.weights, kept.sha256)
                backend, _ = load_backend(artifacts, CPU, backend=name, precision=precision)
                found[f"{name} {precision}"] = backend
    return found
