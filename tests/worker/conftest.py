"""Jobs as customers make them, and a worker whose engine needs no process."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
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
from tests.worker.scripted import MODEL, EngineHere, ScriptedRestorer
from worker.decoder import Decoder
from worker.engine import Limits
from worker.lease import Drain
from worker.pipeline import Pipeline
from worker.tasks import Worker


@pytest.fixture
def png() -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def restorer() -> ScriptedRestorer:
    return ScriptedRestorer()


@pytest.fixture(scope="session")
def decoder() -> Iterator[Decoder]:
    with Decoder(Limits()) as decoder:
        yield decoder


@pytest.fixture
def engine(restorer: ScriptedRestorer) -> EngineHere:
    return EngineHere({MODEL: restorer})


@pytest.fixture
def pipeline(
    storage: ObjectStorage, settings: Settings, decoder: Decoder, engine: EngineHere
) -> Pipeline:
    return Pipeline(
        storage=storage,
        fetcher=Fetcher(allow_private=settings.allow_private_addresses),
        decoder=decoder,
        engine=engine,
        max_bytes=settings.max_input_bytes,
        fetch_timeout_s=5,
    )


@pytest.fixture
def worker(store: JobStore, pipeline: Pipeline, engine: EngineHere) -> Worker:
    return Worker(
        name="worker-1",
        store=store,
        pipeline=pipeline,
        engine=engine,
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
