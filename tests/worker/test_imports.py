"""The worker's own process leaves pixels to its children."""

from __future__ import annotations

import subprocess
import sys

import pytest

_HEAVY = {"torch", "cv2", "numpy", "PIL"}


@pytest.mark.parametrize("module", ["worker.app", "worker.notifier.notifier"])
def test_no_torch_opencv_numpy_or_pillow_comes_into_the_process(module: str) -> None:
    program = f"import sys, {module}; print(sorted({_HEAVY} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
