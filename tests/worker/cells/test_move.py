"""A tenant moves to another cell: nothing is lost, and the other tenant notices nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from redis import Redis

from shared.batches.batch import NewBatch
from shared.batches.store import BatchStore
from shared.errors import Conflict, NotFound, SettingsInvalid
from shared.jobs.idempotency import FirstRequest
from shared.jobs.job import TERMINAL_EVENT, Job, Kind, Release, Status, new_id
from shared.jobs.record import NewJob, Outcome
from shared.jobs.runs import WithoutResult
from shared.manifests.batches import BatchManifests
from shared.manifests.manifests import Manifests
from shared.storage.keys import batch_prefix, file_key, input_key, result_key
from shared.tenants.api_keys import ApiKey
from shared.tenants.moves import MoveState
from shared.tenants.pins import Pins
from shared.tenants.tenant_records import TenantRecords
from tests.conftest import ROOT
from tests.jobs import TENANT, new_job
from tests.worker.cells.conftest import Cell, job_of
from worker.cells.move import TenantMove
from worker.cli import main

OTHER = "globex"
HOOK = {"url": "http://127.0.0.1:9/hook", "events": [*TERMINAL_EVENT.values()]}
SUCCEEDED = Outcome(Status.SUCCEEDED, {"faces": [], "image": {"key": "k"}})
FAILED = Outcome(Status.FAILED, error={"code": "corrupt-image"})


@dataclass(frozen=True)
class Tenant:
    """What a tenant has: jobs by the state in which they are, a key and a token."""

    name: str
    key: ApiKey
    secret: str
    token: str
    jobs: dict[str, str]
    batch: str


def accept(cell: Cell, new: NewJob) -> str:
    """Accept a job as the API does: the photo, the manifest, the record."""
    stored = cell.storage.put(new.source["key"], new.id.encode(), "image/png")
    assert stored.etag == new.source["etag"]
    Manifests(cell.storage).write(new)
    cell.store.create(new)
    return new.id


def photo_job(tenant: str, key_id: str, **fields: object) -> NewJob:
    import hashlib

    job_id = str(fields.pop("id", None) or new_id("job"))
    etag = hashlib.md5(job_id.encode(), usedforsecurity=False).hexdigest()
    source = {"key": input_key(tenant, job_id), "etag": etag}
    return new_job(id=job_id, tenant=tenant, key_id=key_id, source=source, webhook=HOOK, **fields)


def run(cell: Cell, job_id: str, end: Outcome | None = None) -> str:
    """Start a job, and end it as a worker does. Return the token of the run."""
    claim = cell.store.runs.claim(job_id, "worker-1")
    assert claim is not None
    assert claim.job.id == job_id
    if end is not None:
        assert cell.store.runs.finish(job_id, claim.token, end)
        Manifests(cell.storage).remove(claim.job.tenant, job_id)
    return claim.token


def make_tenant(cell: Cell, name: str) -> Tenant:
    """Make a tenant with jobs in every state, a batch, an upload and files."""
    key, secret = cell.keys.create(name, "shop")
    _, token = cell.keys.create_token(key, {"restorations:read"}, jobs=5, expires_in_s=600)
    cell.keys.webhook_secrets(name)
    jobs = {
        state: accept(cell, photo_job(name, key.id))
        for state in ("succeeded", "failed", "canceled", "queued", "delayed")
    }
    picture = result_key(name, jobs["succeeded"], "t", "image.png")
    cell.storage.put(picture, b"a picture of " + name.encode(), "image/png")
    done = Outcome(Status.SUCCEEDED, {"faces": [{"status": "restored"}], "image": {"key": picture}})
    run(cell, jobs["succeeded"], done)
    run(cell, jobs["failed"], FAILED)
    cell.store.cancel(name, jobs["canceled"])
    Manifests(cell.storage).remove(name, jobs["canceled"])
    token_of_run = run(cell, jobs["delayed"])
    cell.store.runs.release(jobs["delayed"], token_of_run, Release.TRANSIENT, delay_s=300)
    detection = photo_job(name, key.id, id=new_id("det"), kind=Kind.DETECTION)
    jobs["detection"] = accept(cell, detection)
    cell.storage.put(file_key(name, "album/1.jpg"), b"x" * 100_000, "image/jpeg")
    cell.storage.put(input_key(name, new_id("job")), b"an upload", "image/jpeg")
    assert cell.store.idempotency.begin(key.id, "order-1", "fingerprint") is None
    keyed = photo_job(
        name, key.id, idempotency_key="order-1", idempotency_fingerprint="fingerprint"
    )
    jobs["keyed"] = accept(cell, keyed)
    return Tenant(name, key, secret, token, jobs, _make_batch(cell, name, key, jobs))


def _make_batch(cell: Cell, name: str, key: ApiKey, jobs: dict[str, str]) -> str:
    batch_id = new_id("bat")
    items = [photo_job(name, key.id, batch=batch_id) for _ in range(2)]
    for item in items:
        cell.storage.put(item.source["key"], item.id.encode(), "image/png")
    new = NewBatch(id=batch_id, tenant=name, key_id=key.id, items=items, webhook_url=HOOK["url"])
    batches = BatchStore.beside(cell.store)
    BatchManifests(cell.storage).write(new)
    batches.open(new)
    batches.create_jobs(batch_id, new.jobs)
    jobs["batch 1"], jobs["batch 2"] = items[0].id, items[1].id
    run(cell, items[0].id, FAILED)
    cell.storage.put(batch_prefix(name, batch_id) + "1/part.json", b"{}", "application/json")
    return batch_id


@pytest.fixture
def acme(source: Cell, target: Cell) -> Tenant:
    return make_tenant(source, TENANT)


@pytest.fixture
def globex(source: Cell, acme: Tenant) -> Tenant:
    return make_tenant(source, OTHER)


def mover(source: Cell, target: Cell, say: Callable[[str], None] = lambda _: None) -> TenantMove:
    return TenantMove(TENANT, source.settings, target.settings, say)


def records(cell: Cell, tenant: str) -> dict[str, object]:
    of = TenantRecords(tenant, cell.store.scripts)
    return {name: (record.kind, record.content) for name, record in of.read(of.names())}


def objects(cell: Cell, tenant: str) -> dict[str, tuple[bytes, str]]:
    return {
        stored.key: (
            cell.storage.get(stored.key, max_bytes=10**6),
            cell.storage.head(stored.key).content_type,
        )
        for root in ("tenants", "jobs", "batches")
        for stored in cell.storage.list(f"{root}/{tenant}/")
    }


def lists(redis: Redis, ids: set[str]) -> dict[str, set[str]]:
    """Return which of some jobs are in which lists that processes read."""
    found = {}
    for name in redis.scan_iter("fm:*", _type="zset"):
        if not name.startswith("fm:tenant:"):
            found[name] = ids & set(redis.zrange(name, 0, -1))
    return {name: members for name, members in found.items() if members}


@dataclass(frozen=True)
class Before:
    """The tenants, and what the source had before the move."""

    acme: Tenant
    globex: Tenant
    jobs: dict[str, Job]
    objects: dict[str, tuple[bytes, str]]
    lists: dict[str, set[str]]
    others: dict[str, object]
    other_objects: dict[str, tuple[bytes, str]]
    secrets: tuple[str, ...]


@pytest.fixture
def before(source: Cell, acme: Tenant, globex: Tenant) -> Before:
    return Before(
        acme,
        globex,
        jobs={state: job_of(source, job_id) for state, job_id in acme.jobs.items()},
        objects=objects(source, TENANT),
        lists=lists(source.redis, set(acme.jobs.values())),
        others=records(source, OTHER),
        other_objects=objects(source, OTHER),
        secrets=source.keys.webhook_secrets(TENANT),
    )


def check_moved(source: Cell, target: Cell, before: Before) -> None:
    """The target has everything as it was, the source has nothing, the other tenant is the same."""
    acme, globex = before.acme, before.globex
    assert {state: job_of(target, it) for state, it in acme.jobs.items()} == before.jobs
    assert objects(target, TENANT) == before.objects
    # A job that waited before another try waits no longer.
    moved = lists(target.redis, set(acme.jobs.values()))
    assert {name for name in before.lists if name != "fm:later"} <= moved.keys()
    for name in ("fm:expiry", "fm:deadlines"):
        assert moved[name] == before.lists[name]
    assert target.keys.authenticate(acme.secret).moving is None
    assert target.keys.authenticate(acme.token).tenant == TENANT
    assert [key.id for key in target.keys.list()] == [acme.key.id]
    assert target.keys.webhook_secrets(TENANT) == before.secrets
    again = target.store.idempotency.begin(acme.key.id, "order-1", "fingerprint")
    assert again == FirstRequest(acme.jobs["keyed"])
    batch = BatchStore.beside(target.store).get(TENANT, acme.batch)
    assert (batch.counts.failed, batch.counts.queued) == (1, 1)
    # What is left answers requests that still come here.
    assert source.keys.authenticate(acme.secret).moving is MoveState.LEFT
    left = records(source, TENANT)
    assert {name.rpartition(":")[0] for name in left} == {"fm:key"}
    assert all(source.redis.ttl(name) > 0 for name in left)
    assert [key.id for key in source.keys.list()] == [globex.key.id]
    assert objects(source, TENANT) == {}
    assert lists(source.redis, set(acme.jobs.values())) == {}
    assert records(source, OTHER) == before.others
    assert objects(source, OTHER) == before.other_objects
    assert target.redis.exists("fm:tenant:acme:arriving") == 0


def test_everything_of_a_tenant_is_in_the_target_and_nothing_in_the_source(
    source: Cell, target: Cell, before: Before
) -> None:
    mover(source, target).run(settle_s=0)
    check_moved(source, target, before)


def test_jobs_and_webhooks_go_on_in_the_target_alone(
    source: Cell, target: Cell, acme: Tenant
) -> None:
    waiting = {each["id"] for each in source.outbox.of_job(TENANT, acme.jobs["failed"])}
    mover(source, target).run(settle_s=0)
    due = {job.id for job in target.store.runs.due()}
    assert acme.jobs["queued"] in due
    for state in ("queued", "delayed", "detection", "keyed", "batch 2"):
        assert source.store.runs.claim(acme.jobs[state], "w") is None
        run(target, acme.jobs[state], FAILED)
    assert BatchStore.beside(target.store).get(TENANT, acme.batch).finished_at is not None
    assert target.store.retry(TENANT, acme.jobs["failed"]).generation == 2
    taken = {delivery.id for delivery in target.outbox.take(100, 10, ())}
    assert waiting <= taken
    assert source.outbox.take(100, 10, ()) == []


@pytest.mark.parametrize(
    "moment",
    ["closed", "records:", "objects:", "verified:", "switched", "open:", "removed"],
)
def test_a_move_that_stops_at_any_moment_goes_on_when_it_is_run_again(
    source: Cell, target: Cell, before: Before, moment: str
) -> None:
    class Stopped(Exception):
        pass

    def stop(line: str) -> None:
        if line.startswith(moment):
            raise Stopped

    with pytest.raises(Stopped):
        mover(source, target, stop).run(settle_s=0)
    ids = set(before.acme.jobs.values())
    assert not (lists(source.redis, ids) and lists(target.redis, ids))  # never in both
    mover(source, target).run(settle_s=0)
    check_moved(source, target, before)


def test_a_move_that_is_killed_goes_on_when_the_command_is_run_again(
    source: Cell, target: Cell, before: Before, tmp_path: Path
) -> None:
    fast = {"FACEMEND_API_TIMEOUT_S": "0.01", "FACEMEND_WEBHOOK_TIMEOUT_S": "0.01"}
    ours = source.write_settings(tmp_path / "a.env").read_text().replace("'", "")
    env = os.environ | fast | dict(line.split("=", 1) for line in ours.splitlines())
    file = target.write_settings(tmp_path / "b.env")
    argv = [sys.executable, "-m", "worker.cli", "cells", "move", TENANT, "--to", str(file)]
    with subprocess.Popen(argv, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        assert any(line.startswith("records:") for line in killed.stdout)
        killed.send_signal(signal.SIGKILL)
    assert source.moves.state(TENANT) is MoveState.LEAVING
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert "verified:" in done.stdout
    check_moved(source, target, before)


def test_a_running_job_may_end_before_it_is_moved(source: Cell, target: Cell, acme: Tenant) -> None:
    running = acme.jobs["queued"]
    token = run(source, running)
    assert source.store.runs.find_equal(running, token, "content") is WithoutResult.RUN
    waiting = accept(source, photo_job(TENANT, acme.key.id))
    token_of_waiting = run(source, waiting)
    asked = source.store.runs.find_equal(waiting, token_of_waiting, "content")
    assert asked is WithoutResult.WAIT

    def end(line: str) -> None:
        if line.startswith("waiting for 1 "):
            assert source.store.runs.finish(running, token, SUCCEEDED)

    mover(source, target, end).run(settle_s=0)
    assert job_of(target, running).status is Status.SUCCEEDED
    assert len(target.outbox.of_job(TENANT, running)) == 1
    again = run(target, waiting)
    equal = target.store.runs.find_equal(waiting, again, "content")
    assert isinstance(equal, Job)
    assert equal.id == running


def test_a_canceled_move_leaves_the_tenant_where_it_was(
    source: Cell, target: Cell, acme: Tenant, before: Before
) -> None:
    def stop(line: str) -> None:
        if line.startswith("verified:"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mover(source, target, stop).run(settle_s=0)
    mover(source, target).cancel()
    assert source.keys.authenticate(acme.secret).moving is None
    assert lists(source.redis, set(acme.jobs.values())).keys() >= before.lists.keys() - {"fm:later"}
    run(source, acme.jobs["queued"], FAILED)
    assert records(target, TENANT) == {}
    assert objects(target, TENANT) == {}
    with pytest.raises(Conflict):
        mover(source, target).cancel()


def test_a_tenant_comes_back(source: Cell, target: Cell, acme: Tenant, before: Before) -> None:
    mover(source, target).run(settle_s=0)
    TenantMove(TENANT, target.settings, source.settings, lambda _: None).run(settle_s=0)
    assert {state: job_of(source, it) for state, it in acme.jobs.items()} == before.jobs
    assert objects(source, TENANT) == before.objects
    assert source.keys.authenticate(acme.secret).moving is None


def test_a_backup_of_the_keys_does_not_bring_a_moved_tenant_back(
    source: Cell, target: Cell, acme: Tenant, globex: Tenant
) -> None:
    Pins(source.store.scripts).pin(TENANT, "eu")
    copy = source.keys.copy()
    mover(source, target).run(settle_s=0)
    assert source.keys.restore(copy) == 0
    assert [key.id for key in source.keys.list()] == [globex.key.id]
    assert {name.rpartition(":")[0] for name in records(source, TENANT)} == {"fm:key"}
    assert Pins(source.store.scripts).all() == {}


def test_a_pin_is_moved(source: Cell, target: Cell, acme: Tenant) -> None:
    Pins(source.store.scripts).pin(TENANT, "eu")
    mover(source, target).run(settle_s=0)
    assert Pins(source.store.scripts).all() == {}
    assert target.keys.authenticate(acme.secret).pin == "eu"


def test_the_etag_of_a_photo_that_was_stored_in_parts_is_that_of_its_copy(
    source: Cell, target: Cell, acme: Tenant
) -> None:
    key = file_key(TENANT, "parts.jpg")
    source.storage.put_stream(key, [b"photo"], "image/jpeg")
    etag = source.storage.head(key).etag
    new = new_job(key_id=acme.key.id, source={"key": key, "etag": etag})
    Manifests(source.storage).write(new)
    source.store.create(new)
    mover(source, target).run(settle_s=0)
    pinned = job_of(target, new.id).source["etag"]
    assert target.storage.get(key, max_bytes=100, etag=pinned) == b"photo"
    (ref,) = (ref for ref in Manifests(target.storage).all() if ref.job_id == new.id)
    manifest = Manifests(target.storage).read(ref)
    assert manifest is not None
    assert json.loads(manifest.spec)["source"]["etag"] == pinned


def test_a_dry_run_shows_what_would_be_moved_and_changes_nothing(
    source: Cell, target: Cell, acme: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for line in source.write_settings(tmp_path / "a.env").read_text().splitlines():
        name, _, value = line.partition("=")
        monkeypatch.setenv(name, value.strip("'"))
    file = target.write_settings(tmp_path / "b.env")
    ours = records(source, TENANT)
    argv = ["cells", "move", TENANT, "--to", str(file), "--dry-run"]
    shown = CliRunner().invoke(main, argv, catch_exceptions=False)
    assert shown.exit_code == 0
    assert f"{len(ours)} records, of {len(acme.jobs)} jobs" in shown.stdout
    assert records(source, TENANT) == ours
    assert source.moves.all() == {}
    assert target.redis.dbsize() == 0


def test_what_cannot_be_moved_is_refused_before_anything_changes(
    source: Cell, target: Cell, acme: Tenant
) -> None:
    with pytest.raises(NotFound):
        TenantMove("nobody", source.settings, target.settings, print).run(settle_s=0)
    with pytest.raises(SettingsInvalid, match="two Redis"):
        TenantMove(TENANT, source.settings, source.settings, print)
    other = target.settings.model_copy(update={"api_key_pepper": type(
        target.settings.api_key_pepper
    )("another")})  # fmt: skip
    with pytest.raises(SettingsInvalid, match="PEPPER"):
        TenantMove(TENANT, source.settings, other, print)
    target.keys.create(TENANT, "somebody else")
    with pytest.raises(Conflict):
        mover(source, target).run(settle_s=0)
    assert source.moves.all() == {}
