"""The table of a model and of pictures: what it measures, and what it leaves out."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import DatasetError
from tests.worker.engine.small_models import save_model
from worker.engine import Restorer, load_restorer
from worker.engine.faces.identity import Embedder
from worker.training.data.degradations import RECIPES
from worker.training.data.photos import Photos
from worker.training.measure.metrics import psnr
from worker.training.measure.quality import Judge, Row, Table, of_model, of_pictures
from worker.training.measure.validation import degrade_all, mean_psnr

Image = NDArray[np.uint8]


class Brightness:
    """An embedding that anyone can check: the mean of the picture, in the first of 128 numbers."""

    def compute_face_descriptor(self, face: Image) -> NDArray[np.float64]:
        return np.eye(128)[0] * face.mean() / 255


def smooth(seed: int, size: int = 128) -> Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3)).repeat(size // 8, 0)
    return coarse.repeat(size // 8, 1).astype(np.uint8)


@pytest.fixture(scope="module")
def restorer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restorer]:
    """Answers its input."""
    folder = tmp_path_factory.mktemp("models")
    save_model(folder, "same", unchanging=True)
    made = load_restorer("same", models_dir=folder, device="cpu", precision="fp32")
    yield made
    made.close()


@pytest.fixture
def photos() -> Photos:
    return Photos(("a", "b", "c"), (smooth(1), smooth(2), smooth(3)))


def test_a_model_that_changes_nothing_is_as_good_as_what_it_was_given(
    restorer: Restorer, photos: Photos
) -> None:
    table, lines = of_model(Judge(), restorer, photos, damage="light")
    degraded, restored = table.rows
    assert degraded.psnr_db is not None
    assert restored.psnr_db == pytest.approx(degraded.psnr_db, abs=0.2)
    assert (degraded.identity, degraded.lpips, degraded.fid) == (None, None, None)
    assert [line.shape for line in lines] == [(128, 3 * 128, 3)] * 3
    assert psnr(lines[0][:, :128], lines[0][:, 256:]) == pytest.approx(
        psnr(lines[0][:, 128:256], lines[0][:, 256:]), abs=0.3
    )
    np.testing.assert_array_equal(lines[1][:, 256:], photos.images[1])
    assert table.about["damage"] == "light"
    assert table.about["model"] == "same"


def test_heavier_damage_is_worse_and_another_seed_is_another_damage(photos: Photos) -> None:
    def left(damage: str, seed: int = 1) -> float:
        return mean_psnr(degrade_all(photos, RECIPES[damage], seed), photos.images)

    assert left("light") > left("validation") > left("heavy")
    assert left("light") == left("light") != left("light", 2)


def test_equal_pictures_have_no_psnr_and_json_stays_json(
    restorer: Restorer, photos: Photos
) -> None:
    table, _ = of_model(Judge(), restorer, photos, damage="none")
    assert table.rows[0] == Row("degraded", psnr_db=None, ssim=1.0)
    assert json.loads(json.dumps(table.as_dict(), allow_nan=False))["rows"][0]["ssim"] == 1.0


def test_identity_is_the_mean_similarity_at_the_faces_found() -> None:
    """0.12 brighter is a distance of 0.12, a likeness of 0.9; 0.72 is 0.4, below the limit."""
    dark, places = np.zeros((64, 64, 3), np.uint8), iter([np.eye(5, 2) * 20, None, np.eye(5, 2)])
    brighter = [np.full_like(dark, round(255 * by)) for by in (0.12, 0.5, 0.72)]
    judge = Judge(Embedder(Brightness()), lambda _: next(places))
    row = judge.row("restored", brighter, [dark] * 3)
    assert row.identity == pytest.approx((0.9 + 0.4) / 2, abs=0.01)
    assert row.recognised == 0.5


def test_only_measured_columns_are_printed() -> None:
    table = Table({"photos": 2}, (Row("restored", 30.123, 0.9), Row("ledger", identity=0.5)))
    assert table.markdown().splitlines() == [
        "| photos 2 | PSNR dB | SSIM | identity |",
        "|---|---|---|---|",
        "| restored | 30.12 | 0.9000 |  |",
        "| ledger |  |  | 0.500 |",
    ]


def test_pictures_are_paired_by_name_whatever_their_suffix() -> None:
    table, lines = of_pictures(
        Judge(),
        {"x/1.jpg": smooth(1), "2.png": smooth(2)},
        {"x/1.png": smooth(1), "2.png": ~smooth(2)},
    )
    assert table.about == {"photos": 2}
    assert table.rows[0].ssim is not None
    assert table.rows[0].ssim < 0.6
    np.testing.assert_array_equal(lines[0], np.concatenate((smooth(2), ~smooth(2)), 1))


def test_a_picture_without_partner_or_of_another_size_is_named() -> None:
    with pytest.raises(DatasetError, match="extra is in one of the two folders only"):
        of_pictures(Judge(), {"1.png": smooth(1), "extra.png": smooth(2)}, {"1.png": smooth(1)})
    with pytest.raises(DatasetError, match="1 is 64 x 64 restored and 128 x 128 sharp"):
        of_pictures(Judge(), {"1.png": smooth(1, 64)}, {"1.png": smooth(1)})
    with pytest.raises(DatasetError, match="less than 16 px"):
        of_pictures(Judge(), {"1.png": smooth(1, 8)}, {"1.png": smooth(1, 8)})
