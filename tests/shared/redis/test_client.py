"""Redis is away, slow, full or without its scripts: typed errors in limited time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from redis import Connection, Redis

from deploy.embedded.valkey import Valkey
from shared.errors import Internal, Unavailable
from shared.jobs.job import Status
from shared.jobs.record import NewJob, Outcome
from shared.jobs.store import JobStore
from shared.redis.client import connect, redis_errors
from shared.redis.keys import redis_key, tenant_key
from shared.redis.scripts import Scripts
from shared.settings import Settings
from shared.webhooks.outbox import Outbox
from tests.shared.conftest import at_url

NewJobs = Callable[..., NewJob]
BITES_S = 3.0  # what a request may wait for Redis


@pytest.mark.parametrize("address", ["silent", "hole", "refused"])
def test_a_redis_that_does_not_respond_is_unavailable_in_time(
    address: str, request: pytest.FixtureRequest, settings: Settings, new_job: NewJobs
) -> None:
    url = request.getfixturevalue(address)
    store = JobStore.connect(at_url(settings, url))
    began = time.monotonic()
    with pytest.raises(Unavailable) as error:
        store.create(new_job())
    assert time.monotonic() - began < BITES_S + 0.5  # the bar itself, not how fast we are
    assert "secret" not in error.value.detail


def test_a_redis_that_freezes_under_an_open_connection_is_unavailable_in_time(
    tmp_path: Path, settings: Settings
) -> None:
    with Valkey(tmp_path) as server:
        store = JobStore.connect(at_url(settings, server.url))
        store.ping()
        assert server.child is not None
        os.kill(server.child.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(Unavailable):
                store.get("acme", "job_x")
            assert time.monotonic() - began < BITES_S + 0.5
        finally:
            os.kill(server.child.pid, signal.SIGCONT)
        store.ping()


def test_a_redis_that_crashed_and_came_back_has_every_job(
    tmp_path: Path, settings: Settings, new_job: NewJobs
) -> None:
    with Valkey(tmp_path) as server:
        store = JobStore.connect(at_url(settings, server.url))
        job = store.create(new_job())
        time.sleep(1.2)  # appendfsync everysec
        server.kill()
        with pytest.raises(Unavailable):
            store.get("acme", job.id)
        server.start()
        assert store.get("acme", job.id).id == job.id  # also: the scripts are loaded again
        assert store.runs.claim(job.id, "w") is not None


def test_a_broken_connection_is_replaced_without_an_error(
    redis: Redis, settings: Settings, new_job: NewJobs
) -> None:
    store = JobStore.connect(settings)
    store.ping()
    redis.client_kill_filter(_type="normal", skipme=True)
    assert store.create(new_job()).status is Status.QUEUED


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_leaves_the_connection_of_its_parent_alone(
    store: JobStore, new_job: NewJobs
) -> None:
    job = store.create(new_job())
    child = multiprocessing.get_context("fork").Process(target=store.get, args=("acme", job.id))
    child.start()
    child.join(30)
    child.kill()
    assert child.exitcode == 0
    assert store.get("acme", job.id).id == job.id


def test_no_other_call_reads_the_response_to_an_interrupted_call(
    store: JobStore, new_job: NewJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = store.create(new_job()), store.create(new_job())

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "read_response", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.get("acme", one.id)
    assert store.get("acme", other.id).id == other.id


def test_a_process_keeps_four_connections_however_many_threads_have_called(
    settings: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.redis.scripts._SPARE_S", -1.0)  # so that nobody needs to wait
    before = {each["id"] for each in redis.client_list()}
    scripts = Scripts(connect(settings))
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: scripts.run("job_counts"), range(400)))
    kept = {each["id"] for each in redis.client_list()} - before
    assert 1 <= len(kept) <= 4


def test_threads_that_call_at_once_get_their_own_responses(
    store: JobStore, new_job: NewJobs
) -> None:
    ids = [store.create(new_job()).id for _ in range(40)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda job_id: store.get("acme", job_id).id, ids))
    assert found == ids


def test_scripts_that_redis_forgot_are_sent_again(
    store: JobStore, redis: Redis, new_job: NewJobs
) -> None:
    new = new_job()
    store.create(new)
    redis.script_flush()
    assert store.get("acme", new.id).id == new.id


def test_a_full_redis_accepts_no_job_but_jobs_can_end(
    store: JobStore, outbox: Outbox, redis: Redis, new_job: NewJobs
) -> None:
    new = new_job()
    store.create(new)
    claim = store.runs.claim(new.id, "w")
    assert claim is not None
    refused = new_job()
    redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(Unavailable):
            store.create(refused)
        assert store.runs.finish(new.id, claim.token, Outcome(Status.SUCCEEDED, {"faces": []}))
    finally:
        redis.config_set("maxmemory", 0)
    assert not [key for key in redis.keys("*") if refused.id in key]
    assert store.get("acme", new.id).status is Status.SUCCEEDED
    assert len(outbox.of_job("acme", new.id)) == 1


def test_a_bug_of_ours_is_not_reported_as_an_outage(redis: Redis) -> None:
    redis.set("text", "x")
    with pytest.raises(Internal), redis_errors():
        redis.lpush("text", "y")


def test_a_wrong_password_is_an_outage(settings: Settings) -> None:
    url = settings.redis_url.get_secret_value()
    wrong = url.replace(url.split(":")[2].split("@")[0], "wrong")
    with pytest.raises(Unavailable):
        JobStore.connect(at_url(settings, wrong)).ping()


def test_constructing_a_client_does_not_connect(settings: Settings, refused: str) -> None:
    connect(at_url(settings, refused))
    JobStore.connect(at_url(settings, refused))


def test_keys_are_named_alike_in_python_and_in_lua(redis: Redis) -> None:
    from importlib import resources

    common = (resources.files("shared") / "lua" / "includes" / "common.lua").read_text()
    script = redis.register_script(common + "return key(unpack(ARGV))")
    assert script(args=["job", "job_1"]) == redis_key("job", "job_1") == "fm:job:job_1"
    assert script(args=["tenant", "acme", "jobs"]) == tenant_key("acme", "jobs")
