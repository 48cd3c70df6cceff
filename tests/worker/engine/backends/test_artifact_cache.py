from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from shared.errors import ModelUnavailable, WeightsInvalid
from tests.worker.engine.backends.conftest import CPU
from worker.engine.backends.artifact_cache import SUFFIXES, ArtifactCache
from worker.engine.backends.export import export
from worker.engine.backends.self_check import SelfCheck
from worker.engine.backends.torch_backend import TorchBackend
from worker.weights.verification import file_sha256


def contents(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


@pytest.mark.parametrize("form", SUFFIXES)
def test_an_export_is_made_once_and_then_found(artifacts: ArtifactCache, form: str) -> None:
    made = artifacts.export(form)
    written = made.stat().st_mtime_ns
    again = ArtifactCache(artifacts.folder, Path("no-longer-there"), artifacts.sha256)
    assert again.export(form) == made
    assert made.stat().st_mtime_ns == written
    assert not any(name.startswith(".") for name in contents(artifacts.folder))


def test_other_weights_have_their_own_export(artifacts: ArtifactCache, tmp_path: Path) -> None:
    copy = tmp_path / "copy.safetensors"
    save_file(load_file(artifacts.weights), copy, metadata={"another": "file"})
    other = ArtifactCache(artifacts.folder, copy, file_sha256(copy))
    assert other.export("onnx") != artifacts.export("onnx")


def test_weights_that_were_replaced_after_they_got_their_hash_leave_nothing_behind(
    artifacts: ArtifactCache,
) -> None:
    """Else the hash would for ever stand for the graph of another file."""
    replaced = ArtifactCache(artifacts.folder, artifacts.weights, "f" * 64)
    with pytest.raises(WeightsInvalid, match="was replaced while it was loaded"):
        replaced.export("onnx")
    assert contents(artifacts.folder) == set()


@pytest.mark.parametrize("form", SUFFIXES)
def test_an_export_with_another_output_than_torch_is_not_kept(
    artifacts: ArtifactCache, form: str
) -> None:
    wrong = SelfCheck(artifacts.self_check.crop, artifacts.self_check.expected * 1.001)
    file = artifacts.folder / f"model{SUFFIXES[form]}"
    before = contents(artifacts.folder)
    with pytest.raises(ModelUnavailable, match=r"error 0\.001, 1e-05 is allowed"):
        export(artifacts.graph, wrong, form, file)
    assert contents(artifacts.folder) == before


def test_the_error_names_a_file_that_cannot_be_written(artifacts: ArtifactCache) -> None:
    file = artifacts.folder / "no-such-folder" / "model.onnx"
    with pytest.raises(ModelUnavailable, match=r"no-such-folder/model\.onnx cannot be written"):
        export(artifacts.graph, artifacts.self_check, "onnx", file)


def test_a_self_check_is_saved_and_a_damaged_one_is_made_again(artifacts: ArtifactCache) -> None:
    expected = artifacts.self_check.expected
    (kept,) = artifacts.folder.glob("*-proof.npz")
    again = ArtifactCache(artifacts.folder, Path("no-longer-there"), artifacts.sha256)
    np.testing.assert_array_equal(again.self_check.expected, expected)
    kept.write_bytes(kept.read_bytes()[:100])
    anew = ArtifactCache(artifacts.folder, artifacts.weights, artifacts.sha256)
    np.testing.assert_allclose(anew.self_check.expected, expected, atol=1e-5)


def test_if_the_folder_is_not_writable_exports_last_as_long_as_the_cache_object(
    artifacts: ArtifactCache, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("not a folder")
    passing = ArtifactCache(tmp_path / "file" / "exported", artifacts.weights, artifacts.sha256)
    with caplog.at_level(logging.WARNING):
        made = passing.export("onnx")
    assert made.is_file()
    assert "exports are made anew each time" in caplog.text
    del passing
    assert not made.parent.exists()


def test_a_backend_with_nan_output_fails_its_self_check(artifacts: ArtifactCache) -> None:
    broken = TorchBackend(artifacts.generator, CPU, "fp32")
    self_check = artifacts.self_check
    artifacts.generator.final_linear[0].bias.data.fill_(float("nan"))
    with pytest.raises(ModelUnavailable, match="torch in fp32 fails its self-check: error nan"):
        self_check.run(broken)
