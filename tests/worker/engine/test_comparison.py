"""Two restorations are compared face by face, where at least one of them changed the face."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from worker.engine import FaceRecord, Restoration
from worker.engine.comparison import Comparison, FaceComparison
from worker.engine.faces import skip_reasons as reasons
from worker.engine.faces.identity import Embedder
from worker.imaging.decode import Photo, Pixels
from worker.imaging.geometry import template_points

#: The photo is one crop, so its landmarks are those of the template.
SIDE_PX = 64
COMPARISON = Comparison("ffhq", SIDE_PX)


class Descriptors:
    """Stands in for dlib's network: the mean colour is the person."""

    def compute_face_descriptor(self, image: Pixels) -> list[float]:
        return [float(value) / 255 for value in image.mean((0, 1))]


@pytest.fixture
def before() -> Pixels:
    noise = np.random.default_rng(1).integers(60, 190, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 1.0), np.uint8)


def stronger(pixels: Pixels, gain: float) -> Pixels:
    """The same picture with more contrast: its gradient energy grows by the square."""
    grey = np.float32(128)
    return np.asarray(((pixels - grey) * gain + grey).round().clip(0, 255), np.uint8)


def restoration(pixels: Pixels, reason: str | None = None) -> Restoration:
    landmarks = tuple((float(x), float(y)) for x, y in template_points("ffhq", SIDE_PX))
    status = "restored" if reason is None else "failed" if reason in reasons.FAILED else "skipped"
    face = FaceRecord(0, (0.0, 0.0, 64.0, 64.0), landmarks, 0.9, status, reason)  # type: ignore[arg-type]
    return Restoration(Photo.of_pixels(pixels), (face,))


def compared(before: Pixels, old: Restoration, new: Restoration) -> FaceComparison:
    (face,) = COMPARISON.faces(before, old, new)
    return face


def test_sharpness_is_the_gradient_energy_over_that_of_the_input(before: Pixels) -> None:
    face = compared(before, restoration(before), restoration(stronger(before, 1.5)))
    assert face.old.sharpness == 1.0
    assert face.new.sharpness == pytest.approx(1.5**2, rel=0.05)
    assert face.changed


def test_a_face_that_one_model_kept_is_compared_as_it_was(before: Pixels) -> None:
    kept = restoration(before, reasons.ALREADY_SHARP)
    face = compared(before, kept, restoration(stronger(before, 2)))
    assert (face.old.status, face.old.sharpness) == ("kept", 1.0)
    assert face.new.status == "restored"
    assert face.new.sharpness > 3


@pytest.mark.parametrize("reason", [reasons.ALREADY_SHARP, reasons.OUT_OF_MEMORY])
def test_a_face_that_neither_changed_is_counted_without_figures(
    before: Pixels, reason: str
) -> None:
    face = compared(before, restoration(before, reason), restoration(before, reason))
    assert face.old == face.new
    assert not face.changed


@pytest.mark.parametrize("reason", [reasons.LOW_SCORE, reasons.NOT_CHOSEN, reasons.TOO_SMALL])
def test_a_face_that_nobody_wanted_restored_is_left_out(before: Pixels, reason: str) -> None:
    unwanted = restoration(before, reason)
    assert list(COMPARISON.faces(before, unwanted, unwanted)) == []


def test_the_difference_is_measured_between_the_two_results(before: Pixels) -> None:
    darker = (before - 10).astype(np.uint8)
    face = compared(before, restoration(before), restoration(darker))
    assert face.squared_error == pytest.approx(100)
    assert compared(before, restoration(darker), restoration(darker)).squared_error == 0


def test_identity_is_measured_against_the_input_if_there_is_an_embedder(before: Pixels) -> None:
    comparison = replace(COMPARISON, embedder=Embedder(Descriptors()))
    brighter = (before + 60).astype(np.uint8)
    (face,) = comparison.faces(before, restoration(before), restoration(brighter))
    assert face.old.identity == 1.0
    assert face.new.identity is not None
    assert 0 < face.new.identity < 0.9
    assert compared(before, restoration(before), restoration(brighter)).new.identity is None


def test_identity_is_measured_of_the_first_face_that_is_compared(before: Pixels) -> None:
    comparison = replace(COMPARISON, embedder=Embedder(Descriptors()))
    (kept,), (done,) = (
        restoration(before, reason).faces for reason in (reasons.ALREADY_SHARP, None)
    )
    several = replace(restoration(before), faces=(kept, done, done))
    identities = [face.new.identity for face in comparison.faces(before, several, several)]
    assert identities == [None, 1.0, None]
