"""``facemend train``, ``align`` and ``degradations``: from the command line to files."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from worker.cli import main
from worker.training.config import TrainConfig


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for number in range(2):
        coarse = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "photos" / f"{number}.png"), cv2.resize(coarse, (32, 32)))
    return tmp_path / "photos"


def test_help_explains_every_option() -> None:
    text = " ".join(call("train", "--help").output.split())
    for each in fields(TrainConfig):
        assert "--" + each.name.replace("_", "-") in text


def test_a_training_runs_from_a_file_and_flags(photos: Path, tmp_path: Path) -> None:
    options = tmp_path / "run.yaml"
    options.write_text(
        "size: 32\nnarrow: 0.0625\nchannel_multiplier: 2\nbatch: 2\nloaders: 0\nsteps: 50\n"
        f"photos: {photos}\nvalidation: {photos}\nprecision: fp32\nsample_rows: 0\n"
    )
    result = call("train", "--config", options, "--out", tmp_path / "run", "--steps", 2)
    assert result.exit_code == 0, result.output
    assert "2 photos to learn from" in result.output
    assert (tmp_path / "run" / "best.pt").is_file()


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        (["--steps", 0], 2, "steps must be above zero"),
        (["--preset", "best"], 2, "no preset 'best'"),
        (["--resume"], 3, "no weights at"),
        (["--photos", "nowhere"], 1, "no photos at nowhere"),
    ],
)
def test_what_is_wrong_is_said_with_its_exit_code(
    photos: Path, tmp_path: Path, more: list[object], code: int, says: str
) -> None:
    needed = ["--photos", photos, "--validation", photos, "--out", tmp_path / "run", "--size", 32]
    result = call("train", *needed, *more)
    assert result.exit_code == code, result.output
    assert says in result.stderr


def test_a_sheet_of_degradations_is_drawn(photos: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    result = call(
        *("degradations", "--photos", photos, "--out", sheet, "--size", 32, "--columns", 3),
        *("--kind", "old-photo"),
    )
    assert result.exit_code == 0, result.output
    drawn = cv2.imread(str(sheet))
    assert drawn is not None
    assert drawn.shape == (64, 128, 3)
    assert call("degradations", "--photos", tmp_path / "no", "--out", sheet).exit_code == 2


def test_raw_photos_are_aligned_and_the_rest_is_explained(astronaut: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "astronaut.png").write_bytes(astronaut.read_bytes())
    cv2.imwrite(str(raw / "blank.png"), np.full((64, 64, 3), 90, np.uint8))
    result = call("align", raw, tmp_path / "crops", "--size", 128)
    assert result.exit_code == 0, result.output
    assert "1 faces in" in result.output
    assert "1 skipped: no face was found" in result.output
    assert (tmp_path / "crops" / "astronaut-0.png").is_file()
    assert call("align", tmp_path / "nowhere", tmp_path / "crops").exit_code == 2
