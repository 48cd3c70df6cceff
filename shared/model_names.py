"""The names of the catalogue's models that restore or colorize faces.

The API refuses a model that no worker serves, and says how to serve it if it is one of these. The
API does not import ``worker.weights.catalogue``; a test compares the two.
"""

from __future__ import annotations

CATALOGUE_MODELS = frozenset(
    {
        "facemend-starter",
        "gfpgan-1.3",
        "gfpgan-1.3-onnx",
        "gfpgan-1.4",
        "gfpgan-1.4-onnx",
        "gpen-bfr-1024",
        "gpen-bfr-1024-onnx",
        "gpen-bfr-2048",
        "gpen-bfr-2048-onnx",
        "gpen-bfr-256",
        "gpen-bfr-256-onnx",
        "gpen-bfr-512",
        "gpen-bfr-512-onnx",
        "gpen-colorization-1024",
        "restoreformer",
        "restoreformer-plus-plus-onnx",
    }
)
