"""A Redis that Sentinels watch: store and Celery follow the primary from one server to the next."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr

from shared.errors import SettingsInvalid, Unavailable
from shared.jobs.job import Priority
from shared.jobs.queues import QueueName
from shared.jobs.store import JobStore
from shared.queue.celery_queue import Doorbell, make_celery
from shared.redis.client import connect
from shared.redis.scripts import Scripts
from shared.redis.url import RedisUrl
from shared.settings import Settings
from tests.jobs import MODEL, TENANT, new_job
from tests.sentinel import WatchedRedis
from tests.waiting import eventually


def settings_for(url: str) -> Settings:
    return Settings(_env_file=None, redis_url=SecretStr(url))


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[WatchedRedis]:
    with WatchedRedis(tmp_path) as redis:
        yield redis


def succeeds(call: Callable[[], object]) -> bool:
    try:
        call()
    except Unavailable:
        return False
    return True


def test_store_and_doorbell_follow_the_primary_after_a_failover(watched: WatchedRedis) -> None:
    settings = settings_for(watched.url)
    store = JobStore(Scripts(connect(settings)), settings)
    doorbell = Doorbell(make_celery(settings, role="api"))
    before = store.create(new_job(model=MODEL))
    doorbell.ring(before.id, QueueName(MODEL, Priority.NORMAL))
    replica = watched.client(watched.ports[1])
    eventually(lambda: replica.exists(f"fm:job:{before.id}"))
    killed = watched.kill_primary()

    def create() -> None:
        store.create(new_job(model=MODEL))

    eventually(lambda: succeeds(create))
    assert watched.primary() != killed
    assert store.get(TENANT, before.id).id == before.id
    queue = QueueName(MODEL, Priority.NORMAL)
    eventually(lambda: succeeds(lambda: doorbell.ring(before.id, queue)))
    assert watched.client(watched.primary()).llen(queue.doorbells) >= 1


def test_a_submission_waits_for_the_replica_if_it_should(watched: WatchedRedis) -> None:
    settings = settings_for(watched.url).model_copy(update={"redis_wait_replicas": 1})
    store, replica = (
        JobStore(Scripts(connect(settings)), settings),
        watched.client(watched.ports[1]),
    )
    before = unreplicated()
    for _ in range(50):
        job = store.create(new_job(model=MODEL))
        assert replica.exists(f"fm:job:{job.id}")
    assert unreplicated() == before
    watched.servers[watched.ports[1]].kill()
    assert store.create(new_job(model=MODEL)).id
    assert unreplicated() == before + 1


def unreplicated() -> float:
    return REGISTRY.get_sample_value("facemend_jobs_unreplicated_total") or 0.0


def test_a_primary_that_comes_back_as_a_replica_is_left(watched: WatchedRedis) -> None:
    settings = settings_for(watched.url)
    store = JobStore(Scripts(connect(settings)), settings)
    store.create(new_job(model=MODEL))
    killed = watched.kill_primary()
    eventually(lambda: watched.primary() != killed)
    watched.start_server(killed)
    eventually(lambda: watched.is_replica(killed))
    store.create(new_job(model=MODEL))
    assert watched.client(watched.primary()).zcard("fm:deadlines") >= 1


def test_one_dead_sentinel_does_not_matter_and_with_none_redis_is_unavailable(
    watched: WatchedRedis,
) -> None:
    settings = settings_for(watched.url)
    watched.sentinels[0].kill()
    store = JobStore(Scripts(connect(settings)), settings)
    store.ping()
    for sentinel in watched.sentinels:
        sentinel.kill()
    fresh = JobStore(Scripts(connect(settings)), settings)
    with pytest.raises(Unavailable):
        fresh.ping()


def test_a_silent_sentinel_leaves_time_to_ask_the_next_one(watched: WatchedRedis) -> None:
    os.kill(watched.sentinels[0].pid, signal.SIGSTOP)
    settings = settings_for(watched.url)
    started_s = time.monotonic()
    JobStore(Scripts(connect(settings)), settings).ping()
    assert time.monotonic() - started_s < settings.redis_timeout_s
    os.kill(watched.sentinels[0].pid, signal.SIGCONT)


@pytest.mark.parametrize(
    ("url", "nodes", "service", "db"),
    [
        ("redis+sentinel://a:1,b:2/main/3", [("a", 1), ("b", 2)], "main", 3),
        ("valkey+sentinel://a,[::1]:5/main", [("a", 26379), ("::1", 5)], "main", 0),
    ],
)
def test_an_address_names_nodes_service_and_database(
    url: str, nodes: list[tuple[str, int]], service: str, db: int
) -> None:
    read = RedisUrl.of(settings_for(url))
    assert (read.nodes, read.service, read.db) == (nodes, service, db)


def test_the_sentinels_have_credentials_of_their_own() -> None:
    url = "redis+sentinel://me:p%40ss@a/main/0?sentinel_username=watch&sentinel_password=s%2Fec"
    read = RedisUrl.of(settings_for(url))
    assert (read.username, read.password) == ("me", "p@ss")
    assert read.sentinel_credentials == {"username": "watch", "password": "s/ec"}
    assert "sentinel_password" not in read.for_redis_py


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis+sentinel://a:1,b:2", "name of the service is missing"),
        ("redis+sentinel://a:1,b:2/", "name of the service is missing"),
        ("redis+sentinel:///main/0", "host of a Sentinel is missing"),
        ("redis+sentinel://a,,b/main/0", "host of a Sentinel is missing"),
        ("redis+sentinel://a:port/main/0", "port of a Sentinel is not a number"),
        ("redis+sentinel://a:1/main/zero", "number of a database"),
        ("redis+sentinel://a:1/main/0?no_such_option=1", "an option is wrong"),
        ("rediss+sentinel://a:1/main/0", "must begin with"),
        ("redis+cluster://a:1/0", "must begin with"),
    ],
)
def test_a_wrong_address_of_sentinels_is_refused_in_words(url: str, words: str) -> None:
    with pytest.raises(SettingsInvalid, match=words):
        connect(settings_for(url))
