"""What ``facemend restore`` imports decides how long it takes to start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_RESTORE = """
import sys
from worker.cli import main
try:
    main(["restore", *sys.argv[1:]], standalone_mode=True)
except SystemExit as end:
    print(end.code or 0)
print(sorted({name.partition(".")[0] for name in sys.modules}))
"""
_HEAVY = {
    *("boto3", "celery", "facexlib", "filterpy", "flask", "kombu", "matplotlib", "numba"),
    *("onnx", "redis", "scipy", "skimage", "torch", "torchvision"),
}


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_restoration_on_a_cpu_loads_no_torch_and_no_part_of_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, astronaut: Path, backend: str
) -> None:
    monkeypatch.setenv("FACEMEND_MODELS_DIR", str(tmp_path / "models"))
    argv = [str(astronaut), "-o", str(tmp_path / "out.png"), "--device", "cpu"]
    argv += ["--backend", backend]
    for _ in range(2):  # the first one exports the graphs, and that takes torch
        done = subprocess.run(
            [sys.executable, "-c", _RESTORE, *argv], capture_output=True, text=True, check=True
        )
        code, imported = done.stdout.splitlines()[-2:]
        assert code == "0"
    assert _HEAVY.isdisjoint(_names(imported))


def _names(printed: str) -> set[str]:
    return set(printed.strip("[]").replace("'", "").split(", "))
