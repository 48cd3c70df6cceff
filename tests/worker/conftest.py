"""Jobs as customers make them, a worker whose engine needs no process, a receiver, a sweeper."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.contract.restorations import RestorationParameters
from shared.jobs.job import Job, new_id
from shared.jobs.record import NewJob
from shared.jobs.store import JobStore
from shared.manifests.manifests import Manifests
from shared.net.fetcher import Fetcher
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import input_key
from tests.jobs import TENANT, new_job
from tests.origin import Origin, http
from tests.worker.later import HOUR, LaterStorage
from tests.worker.scripted import MODEL, InProcessEngine, ScriptedRestorer
from worker.decoder import Decoder
from worker.imaging.limits import Limits
from worker.jobs.lease import Drain
from worker.jobs.pipeline import Pipeline
from worker.jobs.places import DevicePlaces, FetchPlaces
from worker.jobs.runner import JobRunner
from worker.notifier.sweeper import Sweeper

Admit = Callable[..., NewJob]


@pytest.fixture
def one_torch_thread() -> Iterator[None]:
    """Small networks only wait for each other in more, above all on a busy machine."""
    import torch  # most tests of the worker need no torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
def engine(restorer: ScriptedRestorer) -> InProcessEngine:
    return InProcessEngine({MODEL: restorer})


@pytest.fixture
def pipeline(
    storage: ObjectStorage, settings: Settings, decoder: Decoder, engine: InProcessEngine
) -> Pipeline:
    return Pipeline(
        storage=storage,
        fetcher=Fetcher(allow_private=settings.allow_private_addresses),
        decoder=decoder,
        engine=engine,
        max_bytes=settings.max_input_bytes,
        fetch_timeout_s=5,
        fetch_head_timeout_s=5,
        fetch_min_bytes_per_s=1024,
    )


@pytest.fixture
def worker(store: JobStore, pipeline: Pipeline, engine: InProcessEngine) -> JobRunner:
    return JobRunner(
        name="worker-1",
        store=store,
        pipeline=pipeline,
        engine=engine,
        drain=Drain(drain_s=0.2),
        beat_s=0.05,
        device=DevicePlaces(2),
        fetches=FetchPlaces(total=4, per_tenant=2, per_host=3),
    )


@pytest.fixture
def submit(store: JobStore, storage: ObjectStorage, png: bytes) -> Callable[..., Job]:
    """Accept a job for the photo ``png``, as the API would."""

    def submit(
        model: str = MODEL,
        source: dict[str, Any] | None = None,
        request_id: str = "",
        **parameters: Any,
    ) -> Job:
        job_id = new_id("job")
        if source is None:
            stored = storage.put(input_key(TENANT, job_id), png, "image/png")
            source = {"key": stored.key, "etag": stored.etag}
        request = RestorationParameters(**parameters).model_dump(mode="json")
        asked = {**request, "input": {}}
        hook = request["webhook"]
        return store.create(
            new_job(
                id=job_id,
                model=model,
                request=asked,
                source=source,
                webhook=hook,
                request_id=request_id,
            )
        )

    return submit


@pytest.fixture
def admit(store: JobStore, storage: ObjectStorage) -> Admit:
    """Accept a job as the API does: the photo, the manifest, the record."""

    def admit(**fields: object) -> NewJob:
        new = new_job(**fields)
        storage.put(new.source["key"], b"x", "image/png")
        Manifests(storage).write(new)
        store.create(new)
        return new

    return admit


@pytest.fixture
def receiver() -> Iterator[Origin]:
    """A receiver that accepts webhooks at ``/hook``."""
    server = Origin()
    server.answers["/hook"] = http("204 No Content")
    yield server
    server.close()


@pytest.fixture(scope="session")
def later_storage(stack_settings: dict[str, Any]) -> Iterator[LaterStorage]:
    storage = LaterStorage(Settings(_env_file=None, **stack_settings))
    yield storage
    storage._client.close()


@pytest.fixture
def objects(later_storage: LaterStorage, storage: ObjectStorage) -> LaterStorage:
    later_storage.later_s = 0.0
    return later_storage


@pytest.fixture
def sweeper(store: JobStore, objects: LaterStorage) -> Sweeper:
    return Sweeper(store, objects, input_ttl_s=24 * HOUR, upload_ttl_s=HOUR)
