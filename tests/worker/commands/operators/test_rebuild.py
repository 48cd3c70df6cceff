"""``facemend rebuild`` after Redis lost all data."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from click.testing import CliRunner, Result
from redis import Redis

from shared.errors import NotFound, Unavailable
from shared.jobs.idempotency import FirstRequest
from shared.jobs.job import Status
from shared.jobs.record import Outcome
from shared.jobs.recovery import RecoveryResult
from shared.jobs.store import JobStore
from shared.manifests.installation import Installation
from shared.manifests.manifests import Manifests
from shared.redis.scripts import Scripts
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import INSTALLATION, manifest_key
from shared.tenants.api_keys import KeyRing
from tests.jobs import TENANT
from tests.worker.commands.conftest import Facemend
from tests.worker.conftest import Admit
from tests.worker.later import DONE
from worker.cli import main
from worker.notifier.key_backup import KeyBackup
from worker.notifier.rebuilder import Rebuilder


@pytest.fixture
def facemend(stack_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Facemend:
    """Runs ``facemend rebuild …`` as a shell would."""
    for name, value in stack_settings.items():
        monkeypatch.setenv(f"FACEMEND_{name.upper()}", str(value))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["rebuild", *arguments], catch_exceptions=False)

    return run


def run_to_its_end(store: JobStore, job_id: str, outcome: Outcome = DONE) -> str:
    claim = store.runs.claim(job_id, "worker-1")
    assert claim is not None
    assert store.runs.finish(job_id, claim.token, outcome)
    return claim.token


def status(store: JobStore, job_id: str) -> Status | None:
    try:
        return store.get(TENANT, job_id).status
    except NotFound:
        return None


def numbers(result: Result) -> dict[str, int]:
    """``{words: number}`` as printed."""
    lines = [line.strip().partition("  ") for line in result.stdout.splitlines()]
    return {words: int(number) for number, _, words in lines if number.isdigit()}


def test_every_unfinished_job_is_restored_under_its_id_and_no_ended_one_runs_again(
    facemend: Facemend, store: JobStore, storage: ObjectStorage, redis: Redis, admit: Admit
) -> None:
    waiting = [admit().id for _ in range(20)]
    running = [admit().id for _ in range(5)]
    for job_id in running:
        assert store.runs.claim(job_id, "worker-1")
    ended = [admit().id for _ in range(5)]
    for job_id in ended:
        run_to_its_end(store, job_id)
        Manifests(storage).remove(TENANT, job_id)
    sealed = admit().id  # its worker was killed before it removed the manifest
    token = run_to_its_end(store, sealed)
    Manifests(storage).seal(TENANT, sealed, token, DONE)
    redis.flushdb()

    rebuilt = facemend()
    assert rebuilt.exit_code == 0, rebuilt.output
    assert numbers(rebuilt) == {
        "API keys restored": 0,
        "queued again": 25,
        "restored as succeeded": 1,
    }
    assert {status(store, job_id) for job_id in waiting + running} == {Status.QUEUED}
    assert {status(store, job_id) for job_id in ended} == {None}
    assert status(store, sealed) is Status.SUCCEEDED
    assert {job.id for job in store.runs.due()} == {*waiting, *running}
    for job_id in waiting + running:
        run_to_its_end(store, job_id)


def test_keys_are_valid_again_and_webhooks_are_signed_as_before(
    facemend: Facemend,
    store: JobStore,
    storage: ObjectStorage,
    redis: Redis,
    settings: Settings,
) -> None:
    ring = KeyRing(Scripts(redis), settings.api_key_pepper)
    key, token = ring.create(TENANT, "shop")
    secrets = ring.webhook_secrets(TENANT)
    KeyBackup(ring, storage, Installation(store.recovery, storage)).save()
    redis.flushdb()
    with pytest.raises(Unavailable):  # and not Unauthorized, at which a client gives up
        ring.authenticate(token)

    assert numbers(facemend())["API keys restored"] == 1
    assert ring.authenticate(token) == key
    assert ring.webhook_secrets(TENANT) == secrets


def test_a_repeated_request_finds_the_job_that_it_made_before(
    facemend: Facemend, store: JobStore, redis: Redis, admit: Admit
) -> None:
    store.idempotency.begin("key_1", "once", "f")
    job_id = admit(idempotency_key="once", idempotency_fingerprint="f").id
    redis.flushdb()
    facemend()
    assert store.idempotency.begin("key_1", "once", "f") == FirstRequest(job_id)


def test_of_two_requests_with_one_idempotency_key_the_later_becomes_the_job(
    facemend: Facemend, store: JobStore, storage: ObjectStorage, redis: Redis, admit: Admit
) -> None:
    keyed = {"idempotency_key": "once", "idempotency_fingerprint": "f"}
    store.idempotency.begin("key_1", "once", "f")
    killed = admit(
        **keyed
    ).id  # the API died before it answered; pretend: before it made the record
    redis.flushdb()
    store.idempotency.begin("key_1", "once", "f")
    accepted = admit(**keyed).id
    redis.flushdb()
    assert numbers(facemend())["replaced by a repeated request with another id"] == 1
    assert (status(store, killed), status(store, accepted)) == (None, Status.QUEUED)
    left = [stored.key for stored in storage.list("jobs/")]
    assert left == [manifest_key(TENANT, accepted, 1)]


def test_it_can_be_run_again_and_by_two_at_once(
    facemend: Facemend, store: JobStore, storage: ObjectStorage, redis: Redis, admit: Admit
) -> None:
    jobs = [admit().id for _ in range(30)]
    redis.flushdb()
    with ThreadPoolExecutor(2) as pool:
        both = [*pool.map(lambda _: Rebuilder(store, storage).restore_all(), range(2))]
    assert sum(came[RecoveryResult.QUEUED] for came in both) == 30
    assert sum(came[RecoveryResult.KNOWN] for came in both) == 30
    assert store.counts()["queued"] == 30
    claim = store.runs.claim(jobs[0], "worker-1")
    assert claim
    assert numbers(facemend()) == {
        "API keys restored": 0,
        "queued again": 0,
        "already in Redis": 30,
    }
    assert store.runs.finish(jobs[0], claim.token, DONE)


def test_a_dry_run_reports_and_changes_nothing(
    facemend: Facemend, storage: ObjectStorage, redis: Redis, admit: Admit
) -> None:
    for _ in range(3):
        admit()
    redis.flushdb()
    before = [stored.key for stored in storage.list("")]
    reported = facemend("--dry-run")
    assert reported.exit_code == 0
    assert "Nothing was changed" in reported.stdout
    assert numbers(reported) == {"queued again": 3}
    assert redis.keys("*") == []
    assert [stored.key for stored in storage.list("")] == before


def test_the_notifier_sweeps_again_only_after_the_rebuild(
    facemend: Facemend,
    store: JobStore,
    storage: ObjectStorage,
    redis: Redis,
) -> None:
    installation = Installation(store.recovery, storage)
    name = installation.name()
    redis.flushdb()
    with pytest.raises(Unavailable):
        installation.name()
    facemend("--dry-run")
    with pytest.raises(Unavailable):
        installation.name()
    facemend()
    assert installation.name() == name


def test_a_broken_manifest_is_reported_and_does_not_block_others(
    facemend: Facemend, store: JobStore, storage: ObjectStorage, redis: Redis, admit: Admit
) -> None:
    job_id = admit().id
    storage.put(manifest_key(TENANT, "job_" + "f" * 32, 1), b"{", "application/json")
    redis.flushdb()
    rebuilt = facemend()
    assert rebuilt.exit_code == 1
    assert numbers(rebuilt)["with an unreadable manifest; see the log"] == 1
    assert status(store, job_id) is Status.QUEUED


def test_the_redis_of_another_bucket_is_refused_before_anything_is_written(
    facemend: Facemend, store: JobStore, storage: ObjectStorage, redis: Redis, admit: Admit
) -> None:
    job_id = admit().id
    redis.flushdb()
    store.recovery.name_installation("another")
    storage.put(INSTALLATION, b"this", "text/plain")
    refused = facemend()
    assert refused.exit_code == 4
    assert "different installations" in refused.stderr
    assert status(store, job_id) is None


def test_an_unreachable_redis_is_an_error_message(
    facemend: Facemend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEMEND_REDIS_URL", "redis://127.0.0.1:1/0")
    away = facemend()
    assert away.exit_code == 4
    assert away.stderr.startswith("unavailable: ")


def test_rebuild_imports_nothing_of_the_engine() -> None:
    """The command also runs in the image of the API."""
    heavy = "{'torch', 'numpy', 'cv2', 'PIL', 'flask'}"
    module = "worker.commands.operators.rebuild"
    script = f"import sys, {module}; print(sorted({heavy} & sys.modules.keys()))"
    out = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert out.strip() == "[]"
