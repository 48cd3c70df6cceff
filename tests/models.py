"""What restorers without a network say of themselves."""

from __future__ import annotations

from worker.engine import ModelInfo


def stand_in(name: str, backend: str) -> ModelInfo:
    """``backend`` is what the tests' engine does in place of a network."""
    return ModelInfo(
        name=name,
        sha256="0" * 64,
        size_px=64,
        licence="Apache-2.0",
        template="ffhq",
        precision="fp32",
        backend=backend,
    )
