"""An evaluation is fixed by photos and seed, and its command prints and draws it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from worker.engine.gpen.networks import Generator, GpenConfig
from worker.training.checkpoint import export_generator
from worker.training.dataset import Photos, load_photos
from worker.training.evaluate import (
    contact_sheet,
    degrade_all,
    evaluate,
    main,
    restore_all,
)
from worker.training.identity import start_from_identity


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for number in range(3):
        coarse = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (32, 32), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(tmp_path / "photos" / f"{number}.png"), image)
    return tmp_path / "photos"


@pytest.fixture
def photos(folder: Path) -> Photos:
    return load_photos(folder, 32)


@pytest.fixture
def generator() -> Generator:
    """Answers its input."""
    model = Generator(GpenConfig(32, 32, 2, 0.0625))
    start_from_identity(model)
    return model


def test_spoiled_photos_are_always_the_same_but_each_in_its_own_way(photos: Photos) -> None:
    twice = [np.stack(degrade_all(photos)) for _ in range(2)]
    assert np.array_equal(*twice)
    same = Photos(photos.names, (photos.images[0],) * 3)
    first, second, _ = degrade_all(same)
    assert not np.array_equal(first, second)


def test_restoring_in_batches_changes_nothing(photos: Photos, generator: Generator) -> None:
    images = list(photos.images)
    one, all_at_once = (restore_all(generator, images, batch=size) for size in (1, 8))
    assert len(one) == len(all_at_once) == 3
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(one, all_at_once, strict=True)) <= 1


def test_a_generator_that_does_nothing_gains_nothing(photos: Photos, generator: Generator) -> None:
    report, rows = evaluate(generator, photos)
    assert report.gain_db == pytest.approx(0.0, abs=0.05)
    assert report.before.ssim == pytest.approx(report.after.ssim, abs=0.01)
    assert (report.photos, report.size) == (3, 32)
    assert [row.shape for row in rows] == [(32, 96, 3)] * 3
    assert np.array_equal(rows[1][:, 64:], photos.images[1])
    assert f"| restored | {report.after.psnr_db:.2f} |" in report.markdown()


def test_a_contact_sheet_is_filled_up_with_black(photos: Photos) -> None:
    sheet = contact_sheet(list(photos.images), columns=2)
    assert sheet.shape == (64, 64, 3)
    assert sheet[32:, 32:].max() == 0


@pytest.mark.parametrize("form", ["json", "markdown"])
def test_the_command_prints_figures_and_draws_a_sheet(
    folder: Path, generator: Generator, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, sheet = folder.parent / "model.safetensors", folder.parent / "out" / "sheet.png"
    export_generator(generator, weights, {})
    flags = ["--json"] if form == "json" else []
    call = ["--weights", str(weights), "--photos", str(folder), "--sheet", str(sheet), *flags]
    assert main(call) == 0
    printed = capsys.readouterr().out
    if form == "json":
        assert json.loads(printed)["before"]["psnr_db"] > 5
    else:
        assert "| 3 photos at 32 px |" in printed
    with Image.open(sheet) as image:
        assert image.size == (192, 64)


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    absent = str(tmp_path / "absent.pt")
    assert main(["--weights", absent, "--photos", str(tmp_path)]) == 2
    assert "evaluate: no weights at" in capsys.readouterr().err
