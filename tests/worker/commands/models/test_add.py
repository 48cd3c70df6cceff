"""``facemend models add``, and what it adds in use."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.worker.commands.conftest import Facemend, only_line, opened
from tests.worker.engine.onnx_models import SIDE, expected, save_onnx

ABOUT = ("--size", SIDE, "--template", "ffhq", "--licence", "Apache-2.0")


@pytest.fixture
def models_dir(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACEMEND_MODELS_DIR", str(folder / "models"))
    return folder / "models"


@pytest.fixture
def photo(folder: Path) -> Path:
    pixels = np.random.default_rng(5).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / "p.png")
    return folder / "p.png"


def test_an_added_model_is_listed_verified_and_restores(
    facemend: Facemend, models_dir: Path, folder: Path, photo: Path
) -> None:
    file = save_onnx(folder / "My_Restorer.onnx")
    added = facemend("models", "add", file, *ABOUT, "--good-at", "squares")
    assert added.exit_code == 0, added.output
    assert "onnxruntime: error" in added.stdout
    assert "openvino: error" in added.stdout
    about = json.loads((models_dir / "my-restorer.json").read_text())
    assert about["licence"] == "Apache-2.0"
    assert "my-restorer" in facemend("models", "list").stdout
    assert about["sha256"] in facemend("models", "verify", "my-restorer").stdout
    done = facemend("restore", photo, "--aligned", "--restore-sharp", "-m", "my-restorer")
    assert done.exit_code == 0, done.output
    crop = np.asarray(opened(photo).convert("RGB"))
    found = np.asarray(opened(folder / "output_p.png").convert("RGB"))
    np.testing.assert_allclose(found, expected(crop, "-1..1"), atol=6)


def test_controls_of_a_graph_without_them_are_refused_in_words(
    facemend: Facemend, models_dir: Path, folder: Path, photo: Path
) -> None:
    facemend("models", "add", save_onnx(folder / "plain.onnx"), *ABOUT)
    done = facemend("restore", photo, "--aligned", "-m", "plain", "--truncation", "0.5")
    assert done.exit_code == 1
    assert "plain has no controls" in done.output


def test_a_changed_file_is_refused(
    facemend: Facemend, models_dir: Path, folder: Path, photo: Path
) -> None:
    facemend("models", "add", save_onnx(folder / "plain.onnx"), *ABOUT)
    save_onnx(models_dir / "plain.onnx", gain=0.9)
    done = facemend("restore", photo, "--aligned", "-m", "plain")
    assert done.exit_code == 3
    assert "is expected" in done.stderr


def test_a_licence_that_is_not_open_has_to_be_accepted(
    facemend: Facemend, models_dir: Path, folder: Path, photo: Path
) -> None:
    stated = ("--size", SIDE, "--template", "arcface", "--licence", "research-only")
    added = facemend("models", "add", save_onnx(folder / "plain.onnx"), *stated)
    assert "FACEMEND_ACCEPTED_LICENCES=research-only" in added.stdout
    done = facemend("restore", photo, "--aligned", "-m", "plain")
    assert done.exit_code == 3
    assert "FACEMEND_ACCEPTED_LICENCES=research-only" in done.stderr


def test_a_file_of_another_form_is_refused_and_nothing_is_kept(
    facemend: Facemend, models_dir: Path, folder: Path
) -> None:
    file = save_onnx(folder / "wide.onnx", side=64)
    answer = facemend("models", "add", file, *ABOUT)
    assert answer.exit_code == 3
    assert "64 px wide, not 32 px" in only_line(answer.stderr)
    assert not (models_dir / "wide.json").exists()
    assert not (models_dir / "wide.onnx").exists()


def test_a_name_that_is_taken_is_refused(
    facemend: Facemend, models_dir: Path, folder: Path
) -> None:
    facemend("models", "add", save_onnx(folder / "plain.onnx"), *ABOUT)
    other = save_onnx(folder / "other.onnx", gain=0.9)
    again = facemend("models", "add", other, *ABOUT, "--name", "plain")
    assert again.exit_code == 3
    assert "choose another --name" in again.stderr
    of_catalogue = facemend("models", "add", other, *ABOUT, "--name", "gpen-bfr-512")
    assert of_catalogue.exit_code == 2


def test_the_licence_has_to_be_stated(facemend: Facemend, models_dir: Path, folder: Path) -> None:
    file = save_onnx(folder / "plain.onnx")
    answer = facemend("models", "add", file, "--size", SIDE, "--template", "ffhq")
    assert answer.exit_code == 2
    assert "--licence" in answer.stderr


def test_a_damaged_entry_is_an_error_of_one_line(
    facemend: Facemend, models_dir: Path, photo: Path
) -> None:
    models_dir.mkdir()
    (models_dir / "broken.json").write_text('{"file": "../escape.onnx"}')
    answer = facemend("restore", photo, "-m", "broken")
    assert answer.exit_code == 3
    assert "is not the entry of a model" in only_line(answer.stderr)


def test_the_best_model_is_one_that_is_installed_and_accepted(
    facemend: Facemend, models_dir: Path, photo: Path
) -> None:
    models_dir.mkdir()
    (models_dir / "GPEN-BFR-512.pth").write_bytes(b"its licence is not accepted")
    done = facemend("restore", photo, "--aligned", "-m", "best")
    assert done.exit_code == 0, done.output
    assert "best of the installed models: facemend-starter" in done.stderr


def test_a_better_model_is_the_best_when_its_licence_is_accepted(
    facemend: Facemend, models_dir: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEMEND_ACCEPTED_LICENCES", "gpen-non-commercial")
    models_dir.mkdir()
    (models_dir / "GPEN-BFR-512.pth").write_bytes(b"accepted, and damaged")
    done = facemend("restore", photo, "--aligned", "-m", "best")
    assert done.exit_code == 3  # never another one silently
    assert "best of the installed models: gpen-bfr-512" in done.stderr
    assert "sha256" in done.stderr
