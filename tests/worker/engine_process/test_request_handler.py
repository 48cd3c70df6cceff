"""One photo in the engine process: from the request to the result file."""

from __future__ import annotations

import dataclasses
import io
import resource
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.errors import ModelUnavailable, OutOfMemory
from tests.worker.engine.photos import file_of, gradient, turned
from tests.worker.scripted import MODEL, ScriptedRestorer, restore_request
from worker.engine import FaceOptions, ModelInfo, Restoration
from worker.engine.stage_timer import OnProgress
from worker.engine_process.protocol import RestoreRequest
from worker.engine_process.request_handler import RequestHandler
from worker.engine_process.result_file import ResultFile
from worker.imaging.decode import Photo, decode
from worker.imaging.limits import Limits

PHOTO = Photo.of_pixels(np.full((48, 64, 3), 10, np.uint8))


def quietly(_stage: str, _done: int, _total: int | None) -> None:
    """Ignore progress."""


class IdleRestorer(ScriptedRestorer):
    """Finds no face, and gives the photo back."""

    def restore(
        self, photo: Photo, options: FaceOptions, on_progress: OnProgress = quietly
    ) -> Restoration:
        return Restoration(photo, (), {"detect": 1, "restore": 0, "paste": 0})


class SimilarityRestorer(ScriptedRestorer):
    """Reports an identity similarity."""

    def __init__(self, identity: float | None) -> None:
        super().__init__()
        self.identity = identity

    def restore(
        self, photo: Photo, options: FaceOptions, on_progress: OnProgress = quietly
    ) -> Restoration:
        done = super().restore(photo, options, on_progress)
        face = dataclasses.replace(done.faces[0], identity_similarity=self.identity)
        return dataclasses.replace(done, faces=(face,))


def test_the_result_file_has_every_picture_and_the_metadata() -> None:
    handler = RequestHandler({MODEL: ScriptedRestorer()})
    request = restore_request(output={"format": "png", "comparison": True, "face_crops": True})
    with ResultFile(handler.handle(request, PHOTO, quietly)) as result:
        assert set(result.pictures) == {
            *("restored", "comparison"),
            *("face-0-before", "face-0-after"),
        }
        restored = result.pictures["restored"]
        assert (restored.format, restored.width, restored.height) == ("png", 64, 48)
        pixels = np.asarray(Image.open(io.BytesIO(result.read(restored))))
        np.testing.assert_array_equal(pixels, 255 - PHOTO.pixels)
        assert result.metadata["faces"][0]["crop"] == {
            "before": "face-0-before",
            "after": "face-0-after",
        }
        assert result.metadata["warnings"] == ["odd light"]
        assert set(result.metadata["timings_ms"]) == {"detect", "restore", "paste", "publish"}


@pytest.mark.parametrize(("measured", "reported"), [(0.123456, 0.1235), (0.0, 0.0), (None, None)])
def test_the_identity_similarity_is_reported_rounded(
    measured: float | None, reported: float | None
) -> None:
    handler = RequestHandler({MODEL: SimilarityRestorer(measured)})
    with ResultFile(handler.handle(restore_request(), PHOTO, quietly)) as result:
        assert result.metadata["faces"][0]["identity_similarity"] == reported


def test_publishing_is_reported_before_anything_is_encoded() -> None:
    steps: list[tuple[str, int, int | None]] = []
    handler = RequestHandler({MODEL: ScriptedRestorer()})
    with ResultFile(handler.handle(restore_request(), PHOTO, lambda *step: steps.append(step))):
        assert steps[-1] == ("publishing", 1, 1)


def test_too_little_memory_is_an_error_that_may_be_retried() -> None:
    def run_out_of_memory() -> None:
        raise MemoryError

    handler = RequestHandler({MODEL: ScriptedRestorer(run_out_of_memory)})
    with pytest.raises(OutOfMemory) as raised:
        handler.handle(restore_request(), PHOTO, quietly)
    assert raised.value.retryable


def test_a_model_that_is_not_loaded_is_named() -> None:
    with pytest.raises(ModelUnavailable, match=r"gpen-9 is not loaded by this worker \(scripted\)"):
        RequestHandler({MODEL: ScriptedRestorer()}).handle(
            restore_request("gpen-9"), PHOTO, quietly
        )


def test_a_result_without_room_may_be_retried_and_leaves_no_file_open() -> None:
    handler = RequestHandler({MODEL: ScriptedRestorer()})
    handler.handle(restore_request(), PHOTO, quietly)  # some files stay open after the first call
    open_before = set(Path("/proc/self/fd").iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(OutOfMemory) as caught:
            handler.handle(restore_request(), PHOTO, quietly)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.retryable
    assert set(Path("/proc/self/fd").iterdir()) == open_before


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_without_a_change_the_file_that_came_is_the_result(kind: str) -> None:
    data = file_of(gradient(), kind, dpi=(300, 300))
    handler = RequestHandler({MODEL: IdleRestorer()})
    photo = decode(data, Limits())
    with ResultFile(handler.handle(restore_request(), photo, quietly)) as result:
        assert result.read(result.pictures["restored"]) == photo.coded
        assert result.metadata["warnings"] == []
        (size,) = {(one.width, one.height) for one in result.pictures.values()}
        assert size == (60, 40)


def test_what_a_file_lost_when_it_was_written_is_a_warning() -> None:
    handler = RequestHandler({MODEL: IdleRestorer()})
    photo = decode(turned(gradient(), 6, "jpeg"), Limits())
    with ResultFile(handler.handle(restore_request(), photo, quietly)) as result:
        (warning,) = result.metadata["warnings"]
    assert "written anew" in warning


def test_a_restoration_is_passed_on_when_its_result_file_is_complete() -> None:
    passed: list[tuple[str, int, bool]] = []

    def on_restored(request: RestoreRequest, photo: Photo, done: Restoration, _: ModelInfo) -> None:
        assert photo is PHOTO
        passed.append((request.job_id, len(done.faces), handler.is_busy()))

    handler = RequestHandler({MODEL: ScriptedRestorer()}, on_restored)
    with ResultFile(handler.handle(restore_request(), PHOTO, quietly)) as result:
        assert result.pictures
    assert passed == [("job_1", 1, True)]
    assert not handler.is_busy()
