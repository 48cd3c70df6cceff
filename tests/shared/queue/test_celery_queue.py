"""The doorbell: what goes out, in which order it is heard, and what happens without Redis."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from redis import Redis

from deploy.embedded.valkey import Valkey
from shared.errors import Unavailable
from shared.jobs.job import Priority
from shared.queue.celery_queue import RESTORE_TASK, Doorbell, make_celery, restore_queue
from shared.settings import Settings
from tests.shared.conftest import at_url

BITES_S = 3.0  # what a request may wait for the queue


class Heard:
    """A worker's task that notes what it was called with."""

    def __init__(self, expected: int) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._expected = expected
        self.all = threading.Event()

    def hear(self, *args: Any) -> None:
        self.calls.append(args)
        if len(self.calls) >= self._expected:
            self.all.set()


@contextmanager
def worker(settings: Settings, heard: Heard) -> Iterator[None]:
    """A real worker of the starter model, one task at a time."""
    app = make_celery(settings, role="worker", models=["starter"])
    app.task(heard.hear, name=RESTORE_TASK, shared=False)
    # Its log level becomes that of the process, and other tests read warnings.
    with start_worker(app, pool="solo", perform_ping_check=False, loglevel="warning"):
        yield
    app.close()


@pytest.fixture
def api(settings: Settings, redis: Redis) -> Iterator[Celery]:
    app = make_celery(settings, role="api")
    yield app
    app.close()


def test_a_message_holds_the_id_of_the_job_and_nothing_else(api: Celery, redis: Redis) -> None:
    Doorbell(api).ring("job_1", "starter", Priority.HIGH)
    (message,) = redis.lrange("restore.starter.high", 0, -1)
    args, kwargs, _ = json.loads(base64.b64decode(json.loads(message)["body"]))
    assert (args, kwargs) == (["job_1"], {})


@pytest.mark.parametrize("model", ["starter", 'of "my" own\\ü'])
def test_a_message_for_a_script_is_what_celery_would_send(
    api: Celery, redis: Redis, model: str
) -> None:
    Doorbell(api).ring("job_1", model, Priority.HIGH)
    (sent,) = redis.lrange(f"restore.{model}.high", 0, -1)
    made = Doorbell(api).message("job_1", model, Priority.HIGH)
    assert without_ids(json.loads(made)) == without_ids(json.loads(sent))


def test_a_bell_in_hand_when_redis_goes_away_does_not_end_the_worker(
    tmp_path: Path, settings: Settings
) -> None:
    with Valkey(tmp_path) as server:
        app = make_celery(at_url(settings, server.url), role="worker", models=["starter"])
        Doorbell(app).ring("job_1", "starter", Priority.HIGH)
        connection = app.connection_for_read()
        assert connection.default_channel.basic_get("restore.starter.high")
        server.kill()
        connection.transport.client = None  # as Celery leaves it when Redis is too slow to go
        connection.close()
        app.close()


def without_ids(message: dict[str, Any]) -> dict[str, Any]:
    """The message, with marks where each one has a name of its own, and without the result's."""
    del message["properties"]["reply_to"], message["headers"]["ignore_result"]
    names = message["headers"]["id"], message["properties"]["delivery_tag"]
    text = json.dumps(message)
    for name in names:
        text = text.replace(name, "a name of its own")
    return dict(json.loads(text))


def test_no_two_messages_have_the_same_name(api: Celery) -> None:
    made = [json.loads(Doorbell(api).message("job_1", "starter", Priority.LOW)) for _ in range(9)]
    assert len({message["properties"]["delivery_tag"] for message in made}) == 9


def test_a_worker_hears_what_a_script_has_put_there(
    api: Celery, settings: Settings, redis: Redis
) -> None:
    queue = restore_queue("starter", Priority.NORMAL)
    for number in range(3):
        message = Doorbell(api).message(f"job_{number}", "starter", Priority.NORMAL)
        redis.lpush(queue, message)
    heard = Heard(3)
    with worker(settings, heard):
        assert heard.all.wait(20)
    assert heard.calls == [("job_0",), ("job_1",), ("job_2",)]


def test_high_is_heard_before_normal_before_low(
    api: Celery, settings: Settings, redis: Redis
) -> None:
    doorbell = Doorbell(api)
    for number in range(3):
        for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH):
            doorbell.ring(f"{priority}-{number}", "starter", priority)
    heard = Heard(9)
    with worker(settings, heard):
        assert heard.all.wait(20)
    order = [job_id.partition("-")[0] for (job_id,) in heard.calls]
    assert order == ["high"] * 3 + ["normal"] * 3 + ["low"] * 3


def test_fields_that_a_newer_version_adds_do_not_matter(
    api: Celery, settings: Settings, redis: Redis
) -> None:
    Doorbell(api).ring("job_1", "starter", Priority.LOW)
    queue = restore_queue("starter", Priority.LOW)
    message = json.loads(redis.lpop(queue))
    message["headers"]["colour"] = "blue"
    message["properties"]["colour"] = {"deep": ["blue"]}
    redis.rpush(queue, json.dumps(message | {"colour": "blue"}))
    heard = Heard(1)
    with worker(settings, heard):
        assert heard.all.wait(20)
    assert heard.calls == [("job_1",)]


def test_a_worker_outlives_a_redis_that_refuses_to_be_read(
    api: Celery, settings: Settings, redis: Redis
) -> None:
    heard = Heard(1)
    with worker(settings, heard):
        redis.config_set("min-replicas-to-write", 1)  # BRPOP writes: it is refused
        try:
            time.sleep(2.5)
        finally:
            redis.config_set("min-replicas-to-write", 0)
        Doorbell(api).ring("job_1", "starter", Priority.LOW)
        assert heard.all.wait(30)
    assert heard.calls == [("job_1",)]


@pytest.mark.parametrize("address", ["silent", "hole", "refused"])
def test_without_redis_ringing_is_unavailable_in_time(
    address: str, request: pytest.FixtureRequest, settings: Settings
) -> None:
    app = make_celery(at_url(settings, request.getfixturevalue(address)), role="api")
    began = time.monotonic()
    with pytest.raises(Unavailable):
        Doorbell(app).ring("job_1", "starter", Priority.HIGH)
    assert time.monotonic() - began < BITES_S + 0.5  # the bar itself, not how fast we are
    app.close()


def test_the_bell_rings_again_after_redis_came_back(tmp_path: Path, settings: Settings) -> None:
    with Valkey(tmp_path) as server:
        app = make_celery(at_url(settings, server.url), role="notifier")
        doorbell = Doorbell(app)
        doorbell.ring("job_1", "starter", Priority.HIGH)
        server.kill()
        with pytest.raises(Unavailable):
            doorbell.ring("job_2", "starter", Priority.HIGH)
        server.start()
        doorbell.ring("job_3", "starter", Priority.HIGH)
        client = Redis.from_url(server.url)
        assert client.llen("restore.starter.high") >= 1
        client.close()
        app.close()


def test_the_bell_rings_although_all_keys_of_celery_were_deleted(
    api: Celery, settings: Settings, redis: Redis
) -> None:
    doorbell = Doorbell(api)
    doorbell.ring("job_1", "starter", Priority.HIGH)
    redis.flushdb()
    doorbell.ring("job_2", "starter", Priority.HIGH)
    heard = Heard(1)
    with worker(settings, heard):
        assert heard.all.wait(20)
    assert heard.calls == [("job_2",)]


def test_celery_neither_retries_nor_stores_nor_reads_anything_but_json(settings: Settings) -> None:
    conf = make_celery(settings, role="worker").conf
    assert not conf.task_acks_late
    assert not conf.task_reject_on_worker_lost
    assert conf.worker_prefetch_multiplier == 1
    assert conf.worker_disable_prefetch
    assert conf.task_ignore_result
    assert conf.result_backend is None
    assert conf.accept_content == ["json"]
    assert not conf.task_publish_retry
    assert conf.broker_transport_options["visibility_timeout"] >= 2 * settings.job_deadline_s


def test_making_the_application_contacts_nobody(settings: Settings, refused: str) -> None:
    make_celery(at_url(settings, refused), role="worker", models=["starter"])


def test_a_worker_looks_often_for_a_redis_that_is_away_and_never_gives_up(
    settings: Settings, refused: str
) -> None:
    app = make_celery(at_url(settings, refused), role="worker")
    pauses: list[float] = []

    class Enough(Exception):
        pass

    def note(error: Exception, pause_s: float) -> None:
        pauses.append(pause_s)
        if len(pauses) == 3:
            raise Enough

    with pytest.raises(Enough):
        app.connection_for_read().ensure_connection(note, app.conf.broker_connection_max_retries)
    assert pauses == [1, 2, 3]
    assert app.conf.broker_connection_max_retries is None
