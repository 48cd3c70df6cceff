from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tests.worker.commands.conftest import Facemend


def test_an_export_runs_in_its_own_runtime_at_any_batch_size(
    facemend: Facemend, folder: Path
) -> None:
    answer = facemend("export", "tiny", "-o", folder / "mine.onnx")
    assert answer.exit_code == 0
    assert "error" in answer.stdout
    session = onnxruntime.InferenceSession(folder / "mine.onnx")
    for count in (1, 3):
        image = np.zeros((count, 3, 32, 32), np.float32)
        assert session.run(None, {"image": image})[0].shape == (count, 3, 32, 32)


def test_an_openvino_export_is_two_files_named_like_the_model(
    facemend: Facemend, folder: Path
) -> None:
    assert facemend("export", "tiny", "--format", "openvino").exit_code == 0
    assert {"tiny.xml", "tiny.bin"} == {file.name for file in folder.iterdir()}


def test_a_suffix_of_another_format_is_a_usage_error(facemend: Facemend, folder: Path) -> None:
    answer = facemend("export", "tiny", "--format", "onnx", "-o", "tiny.xml")
    assert answer.exit_code == 2
    assert "ends with .onnx" in answer.stderr
    assert not list(folder.iterdir())


def test_an_unknown_model_cannot_be_exported(facemend: Facemend) -> None:
    answer = facemend("export", "no-such")
    assert answer.exit_code == 3
    assert "there is no model 'no-such'" in answer.stderr


def test_bench_measures_every_backend_and_auto_uses_the_saved_times(
    facemend: Facemend, folder: Path, tiny_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "models").mkdir()
    shutil.copy(tiny_models / "tiny.safetensors", folder / "models")
    monkeypatch.setenv("FACEMEND_MODELS_DIR", str(folder / "models"))
    answer = facemend("bench", "--keep", "--max-batch", "2")
    assert answer.exit_code == 0
    for name in ("torch", "onnxruntime", "openvino"):
        assert name in answer.stdout
    assert "fp32" in answer.stdout
    assert (folder / "models" / "exported" / "measured.json").is_file()


def test_a_backend_can_be_selected_for_a_photo(
    facemend: Facemend, folder: Path, grace_hopper: Path
) -> None:
    answer = facemend("restore", grace_hopper, "-o", "out.png", "--backend", "onnxruntime")
    assert answer.exit_code == 0
    assert (folder / "out.png").is_file()


def test_the_error_for_a_missing_backend_names_the_command_to_install_it(
    facemend: Facemend, grace_hopper: Path
) -> None:
    answer = facemend("restore", grace_hopper, "-o", "out.png", "--backend", "tensorrt")
    assert answer.exit_code == 3
    assert "backend tensorrt is not installed: pip install" in answer.stderr
