from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from shared.errors import ModelUnavailable
from tests.worker.engine.backends.conftest import CPU
from worker.engine.backends.artifact_cache import SUFFIXES, Shelf
from worker.engine.backends.export import export
from worker.engine.backends.self_check import Proof
from worker.engine.backends.torch_backend import Network


def contents(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


@pytest.mark.parametrize("form", SUFFIXES)
def test_an_export_is_made_once_and_then_found(shelf: Shelf, form: str) -> None:
    made = shelf.export(form)
    written = made.stat().st_mtime_ns
    again = Shelf(shelf.folder, Path("no-longer-there"), shelf.sha256)
    assert again.export(form) == made
    assert made.stat().st_mtime_ns == written
    assert not any(name.startswith(".") for name in contents(shelf.folder))


def test_other_weights_have_an_export_of_their_own(shelf: Shelf, tmp_path: Path) -> None:
    other = Shelf(shelf.folder, shelf.weights, "f" * 64)
    assert other.export("onnx") != shelf.export("onnx")


@pytest.mark.parametrize("form", SUFFIXES)
def test_an_export_that_answers_otherwise_is_not_kept(shelf: Shelf, form: str) -> None:
    wrong = Proof(shelf.proof.crop, shelf.proof.expected * 1.001)
    file = shelf.folder / f"model{SUFFIXES[form]}"
    before = contents(shelf.folder)
    with pytest.raises(ModelUnavailable, match=r"error 0\.001, 1e-05 is allowed"):
        export(shelf.generator, wrong, form, file)
    assert contents(shelf.folder) == before


def test_a_file_that_cannot_be_written_is_named(shelf: Shelf) -> None:
    file = shelf.folder / "no-such-folder" / "model.onnx"
    with pytest.raises(ModelUnavailable, match=r"no-such-folder/model\.onnx cannot be written"):
        export(shelf.generator, shelf.proof, "onnx", file)


def test_a_proof_is_kept_and_a_damaged_one_is_made_anew(shelf: Shelf) -> None:
    expected = shelf.proof.expected
    (kept,) = shelf.folder.glob("*-proof.npz")
    again = Shelf(shelf.folder, Path("no-longer-there"), shelf.sha256)
    np.testing.assert_array_equal(again.proof.expected, expected)
    kept.write_bytes(kept.read_bytes()[:100])
    anew = Shelf(shelf.folder, shelf.weights, shelf.sha256)
    np.testing.assert_allclose(anew.proof.expected, expected, atol=1e-5)


def test_where_nothing_can_be_written_exports_live_as_long_as_the_shelf(
    shelf: Shelf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("not a folder")
    passing = Shelf(tmp_path / "file" / "exported", shelf.weights, shelf.sha256)
    with caplog.at_level(logging.WARNING):
        made = passing.export("onnx")
    assert made.is_file()
    assert "exports are made anew each time" in caplog.text
    del passing
    assert not made.parent.exists()


def test_a_backend_whose_answer_is_no_number_fails_its_check(shelf: Shelf) -> None:
    broken = Network(shelf.generator, CPU, "fp32")
    proof = shelf.proof
    shelf.generator.final_linear[0].bias.data.fill_(float("nan"))
    with pytest.raises(ModelUnavailable, match="torch in fp32 fails its self-check: error nan"):
        proof.check(broken)
