"""The option ``background`` from the request to the job's result, and its progress."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable

import pytest
from PIL import Image

from shared.contract.rendering import represent
from shared.errors import ImageTooManyPixels
from shared.jobs.job import Job, Stage
from shared.jobs.store import Claim
from shared.storage.bucket import ObjectStorage
from tests.worker.scripted import MODEL, EngineHere, Freedom, ScriptedRestorer
from worker.decoder import Decoder
from worker.engine import BackgroundUsed, FaceOptions, Restoration
from worker.imaging.decode import Photo
from worker.imaging.limits import Limits
from worker.jobs.pipeline import Pipeline

Submit = Callable[..., Job]
OnProgress = Callable[[str, int, int | None], None]


class EnlargingRestorer(ScriptedRestorer):
    """Repeats pixels, in two steps."""

    def restore(
        self, photo: Photo, options: FaceOptions, on_progress: OnProgress = lambda *_: None
    ) -> Restoration:
        scale = options.background_scale
        on_progress("enlarging", 1000, 3072)
        on_progress("enlarging", 3072, 3072)
        done = super().restore(photo, options, on_progress)
        large = done.photo.pixels.repeat(scale, 0).repeat(scale, 1)
        used = BackgroundUsed("repeater", "1" * 64, "fp32", scale, averaged=True)
        photo = dataclasses.replace(done.photo, pixels=large)
        return dataclasses.replace(done, photo=photo, background=used)


@pytest.fixture
def enlarging(pipeline: Pipeline) -> Pipeline:
    return dataclasses.replace(pipeline, engine=EngineHere({MODEL: EnlargingRestorer()}))


def test_the_result_is_larger_and_says_by_what(
    enlarging: Pipeline, submit: Submit, storage: ObjectStorage
) -> None:
    job = submit(options={"background": "x2"}, output={"comparison": True})
    result = enlarging.run(Claim(job, "t"), Freedom()).result
    shown = represent(dataclasses.replace(job, result=result), storage).result
    assert shown is not None
    assert shown.comparison is not None
    assert shown.background is not None
    assert (shown.image.width, shown.image.height) == (128, 96)
    assert (shown.comparison.width, shown.comparison.height) == (264, 96)
    assert shown.background.model_dump() == {
        "name": "repeater",
        "sha256": "1" * 64,
        "precision": "fp32",
        "scale": 2,
        "averaged": True,
    }


def test_a_result_whose_background_is_kept_has_none(
    pipeline: Pipeline, submit: Submit, storage: ObjectStorage
) -> None:
    job = submit()
    result = pipeline.run(Claim(job, "t"), Freedom()).result
    assert result is not None
    shown = represent(dataclasses.replace(job, result=result), storage).result
    del result["background"]  # as workers of an earlier version wrote it
    earlier = represent(dataclasses.replace(job, result=result), storage).result
    assert shown is not None
    assert earlier is not None
    assert shown.background is earlier.background is None


def test_enlarging_is_part_of_restoring_and_percent_only_grows(
    enlarging: Pipeline, submit: Submit
) -> None:
    hold = Freedom()
    enlarging.run(Claim(submit(options={"background": "x4"}), "t"), hold)
    restoring = [progress for progress in hold.heard if progress.stage is Stage.RESTORING]
    assert [progress.percent for progress in restoring] == [37, 75, 90]
    assert [progress.faces_done for progress in restoring] == [0, 0, 1]
    percents = [p.percent for p in hold.heard if p.stage is not Stage.DETECTING]
    assert percents == sorted(percents)


def test_a_format_without_room_is_refused_before_the_engine_begins(
    pipeline: Pipeline, submit: Submit, restorer: ScriptedRestorer, storage: ObjectStorage
) -> None:
    source = storage.put("wide.png", wide_png(), "image/png")
    job = submit(
        source={"key": source.key, "etag": source.etag},
        options={"background": "x4"},
        output={"format": "webp"},
    )
    with (
        Decoder(Limits(max_aspect=1000)) as decoder,
        pytest.raises(ImageTooManyPixels, match="webp holds 16383 px"),
    ):
        dataclasses.replace(pipeline, decoder=decoder).run(Claim(job, "t"), Freedom())
    assert restorer.photos == []


def wide_png() -> bytes:
    """5,000 x 16 px."""
    file = io.BytesIO()
    Image.new("RGB", (5000, 16)).save(file, "PNG")
    return file.getvalue()
