"""The audit finds what is planted: a row whose audit sees nothing would always hold."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageChops
from redis import Redis

from deploy.embedded.child_process import Child
from deploy.embedded.seaweedfs import SeaweedFS
from deploy.embedded.valkey import Valkey
from shared.jobs.job import Status
from shared.jobs.store import JobStore, Outcome
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from shared.tenants.api_keys import KeyRing
from tests.chaos.audit import audit
from tests.chaos.customer import Customer
from tests.chaos.photos import Order, photo
from tests.chaos.proxy import Proxy
from tests.chaos.receiver import Arrival, Receiver
from tests.chaos.report import Row
from tests.chaos.service import TENANT, Part, Service
from tests.jobs import take


@pytest.fixture
def service(  # noqa: PLR0917  # fixtures
    tmp_path: Path,
    redis: Redis,
    store: JobStore,
    storage: ObjectStorage,
    settings: Settings,
    valkey: Valkey,
    seaweedfs: SeaweedFS,
) -> Service:
    """Redis and S3 of the tests, and no process of ours."""
    service = Service(tmp_path)
    service.notes = tmp_path
    service.valkey, service.seaweed = valkey, seaweedfs
    service.redis, service.store, service.storage = redis, store, storage
    service.keys = KeyRing(redis, settings.api_key_pepper)
    service._pepper = settings.api_key_pepper.get_secret_value()
    return service


@pytest.fixture
def customer(service: Service) -> Iterator[Customer]:
    customer = Customer(service, "http://127.0.0.1:9")
    yield customer
    customer.http.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def row() -> Row:
    return Row("F0", "nothing at all", "none", injected=1)


def promise(customer: Customer, *, hook: bool = False) -> str:
    """A job that was accepted."""
    customer.hook = "http://127.0.0.1:9" if hook else None
    job_id = take(customer.service.store)
    job = customer.service.job(job_id)
    assert job is not None
    customer.adopt(job, customer.order())
    return job_id


def keep(customer: Customer, job_id: str, picture: bytes | None = None) -> None:
    """Do the job, rightly unless ``picture`` says otherwise."""
    store, storage = customer.service.store, customer.service.storage
    claim = store.claim(job_id, "worker-1")
    assert claim is not None
    data = picture or inverted(customer.book[job_id].order)
    stored = storage.put(f"tenants/{TENANT}/results/{job_id}/x/restored.png", data, "image/png")
    result = {"image": {"key": stored.key, "bytes": len(data)}, "faces": []}
    assert store.finish(job_id, claim.token, Outcome(Status.SUCCEEDED, result=result))


def inverted(order: Order) -> bytes:
    file = io.BytesIO()
    ImageChops.invert(Image.open(io.BytesIO(photo(order)))).save(file, "PNG")
    return file.getvalue()


def arrival(job_id: str, event_id: str) -> Arrival:
    return Arrival(0.0, "/ok", event_id, "restoration.succeeded", job_id, {}, b"")


def test_a_promise_kept_is_no_breach(
    row: Row, service: Service, customer: Customer, receiver: Receiver
) -> None:
    job_id = promise(customer, hook=True)
    keep(customer, job_id)
    receiver.note(arrival(job_id, "evt_1"))
    receiver.note(arrival(job_id, "evt_1"))  # told twice of one event: as promised
    audit(row, service, customer, receiver, timeout_s=1)
    assert (row.verdict, row.breaches) == ("held", [])


def test_a_job_that_never_ends_is_lost(row: Row, service: Service, customer: Customer) -> None:
    promise(customer)
    audit(row, service, customer, timeout_s=0.2)
    assert (row.lost, row.verdict) == (1, "BREACHED")


def test_a_job_that_is_gone_is_lost(row: Row, service: Service, customer: Customer) -> None:
    job_id = promise(customer)
    service.store.erase(TENANT, job_id)
    audit(row, service, customer, timeout_s=0.2)
    assert (row.lost, row.verdict) == (1, "BREACHED")


def test_a_good_photo_that_failed_is_lost(row: Row, service: Service, customer: Customer) -> None:
    job_id = promise(customer)
    claim = service.store.claim(job_id, "worker-1")
    assert claim is not None
    service.store.finish(job_id, claim.token, Outcome(Status.FAILED, error={"code": "internal"}))
    audit(row, service, customer, timeout_s=0.2)
    assert (row.lost, row.verdict) == (1, "BREACHED")


def test_somebody_elses_picture_is_a_breach(row: Row, service: Service, customer: Customer) -> None:
    job_id = promise(customer)
    keep(customer, job_id, inverted(customer.order()))
    audit(row, service, customer, timeout_s=1)
    assert row.breaches == [f"{job_id} has a wrong result"]


def test_two_events_of_one_job_are_counted(
    row: Row, service: Service, customer: Customer, receiver: Receiver
) -> None:
    job_id = promise(customer, hook=True)
    keep(customer, job_id)
    receiver.note(arrival(job_id, "evt_1"))
    receiver.note(arrival(job_id, "evt_2"))
    audit(row, service, customer, receiver, timeout_s=1)
    assert (row.duplicated, row.verdict) == (1, "BREACHED")


def test_a_place_that_is_never_given_back_is_found(
    row: Row, service: Service, customer: Customer
) -> None:
    keep(customer, promise(customer))
    take(service.store)  # in nobody's book, and in the indexes
    audit(row, service, customer, timeout_s=1)
    assert "the indexes hold" in row.breaches[0]


def test_a_secret_in_a_log_is_found(
    row: Row, service: Service, customer: Customer, tmp_path: Path
) -> None:
    proxy = Proxy(1)
    child = Child("api", ["true"], folder=tmp_path)
    service.parts.append(Part("api", child, proxy, proxy))
    child.log_path.write_text(f"somebody came with {customer.secret}\n")
    audit(row, service, customer, timeout_s=1)
    proxy.close()
    assert row.verdict == "BREACHED"
    assert "holds a secret" in row.breaches[0]
