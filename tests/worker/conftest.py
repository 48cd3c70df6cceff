"""A restorer without a network, and jobs as customers make them."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.fetch import Fetcher
from shared.jobs import Job, Priority, new_id
from shared.schemas import RestorationParameters
from shared.settings import Settings
from shared.storage import ObjectStorage, input_key
from shared.store import JobStore, NewJob
from worker.engine import FaceOptions, FaceRecord, ModelInfo, Photo, Restoration
from worker.lease import Drain
from worker.pipeline import Pipeline
from worker.tasks import Worker
from worker.wiring import limits_of

MODEL = "scripted"


class ScriptedRestorer:
    """Stands in for the engine: inverts the photo, or does what the test says in between."""

    def __init__(self, during: Callable[[], None] = lambda: None) -> None:
        self.during = during
        self.photos: list[Photo] = []

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(
            name=MODEL,
            sha256="0" * 64,
            size_px=64,
            licence="Apache-2.0",
            template="ffhq",
            precision="fp32",
            backend="scripted",
            ms_per_face=None,
        )

    def restore(
        self,
        photo: Photo,
        options: FaceOptions,
        on_progress: Callable[[str, int, int | None], None] = lambda *_: None,
    ) -> Restoration:
        self.photos.append(photo)
        on_progress("detecting", 0, None)
        self.during()
        on_progress("restoring", 1, 1)
        inverted = dataclasses.replace(photo, pixels=255 - photo.pixels)
        face = FaceRecord(
            index=0,
            box=(1.0, 2.0, 30.0, 40.0),
            landmarks=((1.0, 1.0),) * 5,
            score=0.99,
            status="restored",
            reason=None,
            crop_before=photo.pixels,
            crop_after=inverted.pixels,
        )
        timings_ms = {"detect": 1, "restore": 2, "paste": 3}
        return Restoration(inverted, (face,), timings_ms, warnings=("odd light",))


@pytest.fixture
def png() -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def restorer() -> ScriptedRestorer:
    return ScriptedRestorer()


@pytest.fixture
def pipeline(storage: ObjectStorage, settings: Settings) -> Pipeline:
    return Pipeline(
        storage=storage,
        fetcher=Fetcher(allow_private=settings.allow_private_addresses),
        limits=limits_of(settings),
        fetch_timeout_s=5,
    )


@pytest.fixture
def worker(store: JobStore, pipeline: Pipeline, restorer: ScriptedRestorer) -> Worker:
    return Worker(
        name="worker-1",
        store=store,
        pipeline=pipeline,
        restorers={MODEL: restorer},
        drain=Drain(drain_s=0.2),
        beat_s=0.05,
    )


@pytest.fixture
def submit(store: JobStore, storage: ObjectStorage, png: bytes) -> Callable[..., Job]:
    """Accept a job for the photo ``png``, as the API would."""

    def submit(model: str = MODEL, source: dict[str, Any] | None = None, **parameters: Any) -> Job:
        job_id, tenant = new_id("job"), "acme"
        if source is None:
            stored = storage.put(input_key(tenant, job_id), png, "image/png")
            source = {"key": stored.key, "etag": stored.etag}
        request = RestorationParameters(**parameters).model_dump(mode="json")
        return store.create(
            NewJob(
                id=job_id,
                tenant=tenant,
                key_id="key_1",
                model=model,
                priority=Priority.NORMAL,
                request={**request, "input": {}},
                source=source,
                webhook=request["webhook"],
                start_before_s=None,
                idempotency_key=None,
            )
        )

    return submit
