"""Raw photos become aligned crops, and the manifest says why a face was skipped."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import DatasetError
from worker.engine.faces.detector import DetectedFace
from worker.imaging.geometry import template_points
from worker.training.data.align import AlignOptions, Line, align_folder

OPTIONS = AlignOptions(size_px=64, most_enlarged=2.0)


class Scripted:
    """Finds, in every photo, faces at the places given: scale of the template, score."""

    def __init__(self, *faces: tuple[float, float], turn: float = 0.0) -> None:
        self.faces, self.turn = faces, turn

    def detect(
        self, image: NDArray[np.uint8], threshold: float, least: float | None = None
    ) -> tuple[DetectedFace, ...]:
        found = []
        for scale, score in self.faces:
            points = template_points("ffhq", 64) * scale
            points[2, 0] += self.turn * (points[1, 0] - points[0, 0])
            found.append(DetectedFace((0.0, 0.0, 64 * scale, 64 * scale), points, score))
        return tuple(found)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    (folder / "1927").mkdir(parents=True)
    image = np.random.default_rng(1).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "1927" / "group.png"), image)
    return folder


def lines_of(source: Path, detector: Scripted, options: AlignOptions = OPTIONS) -> list[Line]:
    return align_folder(source, source.parent / "crops", detector, options)


def test_a_face_is_cut_to_the_template_and_listed(source: Path) -> None:
    (line,) = lines_of(source, Scripted((1.0, 0.99)))
    assert (line.photo, line.crop, line.skipped) == ("1927/group.png", "1927/group-0.png", "")
    cut = cv2.imread(str(source.parent / "crops" / line.crop))
    raw = cv2.imread(str(source / line.photo))
    assert cut is not None
    assert raw is not None
    assert cut.shape == (64, 64, 3)
    assert np.abs(cut.astype(int) - raw[:64, :64]).mean() < 2, "the template lies at its place"
    with (source.parent / "crops" / "manifest.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["crop"] == line.crop
    assert float(row["scale"]) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("detector", "options", "says"),
    [
        (Scripted(), OPTIONS, "no face was found"),
        (Scripted((1.0, 0.7)), OPTIONS, "not sure: 0.70"),
        (Scripted((0.2, 0.99)), OPTIONS, "enlarged 5.0 times"),
        (Scripted((1.0, 0.99), turn=0.6), replace(OPTIONS, frontal=True), "a profile"),
        (Scripted((1.0, 0.99)), replace(OPTIONS, least_sharpness=1e6), "not sharp"),
    ],
)
def test_a_face_that_teaches_nothing_is_skipped_with_the_reason(
    source: Path, detector: Scripted, options: AlignOptions, says: str
) -> None:
    (line,) = lines_of(source, detector, options)
    assert says in line.skipped
    assert not line.crop
    assert not list((source.parent / "crops").rglob("*.png"))


def test_every_face_of_a_photo_is_cut(source: Path) -> None:
    lines = lines_of(source, Scripted((1.0, 0.99), (0.2, 0.99), (1.5, 0.95)))
    assert [line.crop for line in lines] == ["1927/group-0.png", "", "1927/group-2.png"]


def test_a_photo_that_cannot_be_read_does_not_stop_the_rest(source: Path) -> None:
    (source / "broken.jpg").write_bytes(b"nothing")
    group, broken = lines_of(source, Scripted((1.0, 0.99)))
    assert broken.skipped.startswith("cannot be read")
    assert group.crop


def test_a_folder_without_photos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no folder at"):
        lines_of(tmp_path / "absent", Scripted())
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds no image"):
        lines_of(tmp_path / "empty", Scripted())
