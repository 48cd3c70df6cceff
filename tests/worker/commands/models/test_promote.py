"""``facemend models promote``: a worse model is refused, a better one takes the old one's place."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from tests.worker.engine.small_models import save_model
from worker.cli import main

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three models: ``same`` and ``twin`` return their input, ``noise`` returns anything."""
    monkeypatch.setenv("FACEMEND_MODELS_DIR", str(tmp_path))
    monkeypatch.setenv("FACEMEND_DEVICE", "cpu")
    monkeypatch.setenv("FACEMEND_PRECISION", "fp32")
    save_model(tmp_path, "same", unchanging=True)
    save_model(tmp_path, "twin", unchanging=True, note="another file")
    save_model(tmp_path, "noise")
    (tmp_path / "photos").mkdir()
    for seed in range(2):
        coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "photos" / f"{seed}.png"), cv2.resize(coarse, (128, 128)))
    return tmp_path


def promote(folder: Path, *words: str) -> Result:
    arguments = ["models", "promote", *words]
    if "--roll-back" not in words:
        arguments += ["--photos", str(folder / "photos")]
    return CliRunner().invoke(main, arguments)


def bytes_of(folder: Path, name: str) -> bytes:
    return (folder / f"{name}.safetensors").read_bytes()


def test_a_model_that_is_worse_is_refused_and_nothing_changes(folder: Path) -> None:
    before = bytes_of(folder, "same")
    result = promote(folder, "noise", "--over", "same", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["promote"] is False
    assert "noise is worse than same" in result.stderr
    assert bytes_of(folder, "same") == before


def test_a_model_that_is_as_good_takes_the_place_and_can_be_taken_back(folder: Path) -> None:
    before = bytes_of(folder, "same")
    assert promote(folder, "twin", "--over", "same", "--dry-run").exit_code == 0
    assert bytes_of(folder, "same") == before
    result = promote(folder, "twin", "--over", "same")
    assert result.exit_code == 0, result.output
    assert bytes_of(folder, "same") == bytes_of(folder, "twin")
    assert promote(folder, "twin", "--over", "same", "--roll-back").exit_code == 0
    assert bytes_of(folder, "same") == before


def test_what_cannot_be_promoted_is_said(folder: Path) -> None:
    result = promote(folder, "twin", "--over", "same", "--roll-back")
    assert result.exit_code == 3
    assert "was never replaced" in result.stderr
    result = promote(folder, "twin", "--over", "facemend-starter", "--roll-back")
    assert "of the catalogue" in result.stderr
    result = promote(folder, "nobody", "--over", "same")
    assert result.exit_code == 3
    assert "no model 'nobody'" in result.stderr
    result = CliRunner().invoke(main, ["models", "promote", "twin", "--over", "same"])
    assert result.exit_code == 2
    assert "--photos" in result.stderr
