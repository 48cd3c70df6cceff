"""Stops ONNX Runtime and OpenVINO from reporting their use to Microsoft and Google Analytics.

Both report without being asked, under an identity that they keep in the home directory. The photos
here are private, so neither may report anything.
"""

from __future__ import annotations

import os
import sys


def disable_telemetry() -> None:
    """Switch both reports off in this process; call it before either library is imported.

    ONNX Runtime reads a variable (its Privacy.md, "Disabling Telemetry"). OpenVINO works without
    the package that reports, so the import of that package is made to fail.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
