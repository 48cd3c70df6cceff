from __future__ import annotations

import subprocess
import sys


def test_importing_the_api_loads_no_large_library_and_connects_to_nothing() -> None:
    """In a fresh interpreter, with an environment in which any connection would be refused."""
    probe = (
        "import sys, threading, api, api.context;"
        "heavy = {'torch', 'torchvision', 'numpy', 'cv2', 'PIL', 'onnxruntime', 'worker'};"
        "print(sorted(heavy & set(sys.modules)), threading.active_count())"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] 1"
    assert done.stderr == ""
