"""What the engine's process makes of one photo."""

from __future__ import annotations

import dataclasses
import io
import resource
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.errors import ModelUnavailable, OutOfMemory
from tests.worker.scripted import MODEL, ScriptedRestorer, order
from worker.engine import FaceOptions, Restoration
from worker.engine_process.handler import OnProgress, Workbench
from worker.engine_process.result import Finished
from worker.imaging.decode import Photo

PHOTO = Photo.of_pixels(np.full((48, 64, 3), 10, np.uint8))


def quietly(_stage: str, _done: int, _total: int | None) -> None:
    """Nobody listens."""


class AlikeRestorer(ScriptedRestorer):
    """Says how alike the face is."""

    def __init__(self, identity: float | None) -> None:
        super().__init__()
        self.identity = identity

    def restore(
        self, photo: Photo, options: FaceOptions, on_progress: OnProgress = quietly
    ) -> Restoration:
        done = super().restore(photo, options, on_progress)
        face = dataclasses.replace(done.faces[0], identity_similarity=self.identity)
        return dataclasses.replace(done, faces=(face,))


def test_pictures_and_facts_come_out_as_they_went_in() -> None:
    bench = Workbench({MODEL: ScriptedRestorer()})
    asked = order(output={"format": "png", "comparison": True, "face_crops": True})
    with Finished(bench.carry_out(asked, PHOTO, quietly)) as finished:
        assert set(finished.pictures) == {
            *("restored", "comparison"),
            *("face-0-before", "face-0-after"),
        }
        restored = finished.pictures["restored"]
        assert (restored.format, restored.width, restored.height) == ("png", 64, 48)
        pixels = np.asarray(Image.open(io.BytesIO(finished.read(restored))))
        np.testing.assert_array_equal(pixels, 255 - PHOTO.pixels)
        assert finished.facts["faces"][0]["crop"] == {
            "before": "face-0-before",
            "after": "face-0-after",
        }
        assert finished.facts["warnings"] == ["odd light"]
        assert set(finished.facts["timings_ms"]) == {"detect", "restore", "paste", "publish"}


@pytest.mark.parametrize(("measured", "told"), [(0.123456, 0.1235), (0.0, 0.0), (None, None)])
def test_the_likeness_is_told_as_measured(measured: float | None, told: float | None) -> None:
    bench = Workbench({MODEL: AlikeRestorer(measured)})
    with Finished(bench.carry_out(order(), PHOTO, quietly)) as finished:
        assert finished.facts["faces"][0]["identity_similarity"] == told


def test_publishing_is_told_before_anything_is_encoded() -> None:
    heard: list[tuple[str, int, int | None]] = []
    bench = Workbench({MODEL: ScriptedRestorer()})
    with Finished(bench.carry_out(order(), PHOTO, lambda *step: heard.append(step))):
        assert heard[-1] == ("publishing", 1, 1)


def test_too_little_memory_of_this_machine_is_said_so_and_may_pass() -> None:
    def starve() -> None:
        raise MemoryError

    bench = Workbench({MODEL: ScriptedRestorer(starve)})
    with pytest.raises(OutOfMemory) as raised:
        bench.carry_out(order(), PHOTO, quietly)
    assert raised.value.retryable


def test_a_model_that_is_not_loaded_is_named() -> None:
    with pytest.raises(ModelUnavailable, match=r"gpen-9 is not loaded by this worker \(scripted\)"):
        Workbench({MODEL: ScriptedRestorer()}).carry_out(order("gpen-9"), PHOTO, quietly)


def test_a_result_that_finds_no_room_can_be_tried_again_and_leaves_nothing_open() -> None:
    bench = Workbench({MODEL: ScriptedRestorer()})
    bench.carry_out(order(), PHOTO, quietly)  # whatever stays open from the first time on
    open_before = set(Path("/proc/self/fd").iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(OutOfMemory) as caught:
            bench.carry_out(order(), PHOTO, quietly)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.retryable
    assert set(Path("/proc/self/fd").iterdir()) == open_before
