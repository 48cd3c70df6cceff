"""How images are built: for two platforms, with a bill of materials, without unused files."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "deploy" / "docker"
BAKE = json.loads((FOLDER / "docker-bake.json").read_text())


def test_each_dockerfile_is_built_for_x86_64_and_arm64_with_attestations() -> None:
    targets = BAKE["target"]
    assert set(BAKE["group"]["default"]["targets"]) == set(targets) - {"common"}
    assert targets["common"]["platforms"] == ["linux/amd64", "linux/arm64"]
    assert "type=sbom" in targets["common"]["attest"]
    built = {target["dockerfile"] for name, target in targets.items() if name != "common"}
    assert built == {f"deploy/docker/{file.name}" for file in FOLDER.glob("Dockerfile.*")}
    for name in set(targets) - {"common"}:
        assert targets[name]["inherits"] == ["common"]


def test_the_bill_of_materials_has_each_locked_package_with_its_version(tmp_path: Path) -> None:
    subprocess.run([FOLDER / "write-sboms", tmp_path], check=True, capture_output=True)
    for image in ("api", "worker", "s3"):
        bill = json.loads((tmp_path / f"facemend-{image}.cdx.json").read_text())
        found = {each["name"]: each["version"] for each in bill["components"]}
        lock = (ROOT / "requirements" / f"{image}.lock").read_text()
        locked = dict(re.findall(r"(?m)^([\w.-]+)==([\w.]+)", lock))
        assert locked
        assert locked.items() <= found.items()
        assert ("torch" in found) == (image == "worker")


def test_what_a_cpu_never_loads_is_removed_and_what_torch_needs_stays(tmp_path: Path) -> None:
    removed = ["torch/test/a", "torch/include/a.h", "torch/bin/test_api", "onnx/backend/test/a"]
    removed += ["openvino/include/a.h", "openvino/libs/libopenvino_intel_gpu_plugin.so"]
    removed += ["openvino/libs/cache.json", "sympy/core/tests/a.py", "numpy/tests/a.py"]
    kept = ["torch/bin/torch_shm_manager", "torch/lib/libtorch_cpu.so", "torch/testing/a.py"]
    kept += ["openvino/libs/libopenvino_intel_cpu_plugin.so", "sympy/core/a.py"]
    for name in [*removed, *kept, "networkx/a", "mpmath/a"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    subprocess.run([FOLDER / "remove-unused-files", tmp_path], check=True)
    assert [name for name in removed if (tmp_path / name).exists()] == []
    assert [name for name in kept if not (tmp_path / name).exists()] == []
