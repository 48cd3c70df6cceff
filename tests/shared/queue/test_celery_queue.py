"""The doorbell: its messages, the order in which they arrive, and what happens without Redis."""

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
from shared.jobs.queues import QueueName
from shared.queue.celery_queue import RESTORE_TASK, Doorbell, make_celery
from shared.settings import Settings
from shared.telemetry import MESSAGES_DISCARDED
from tests.shared.conftest import at_url

MAX_WAIT_S = 3.0  # the time that a request may wait for the queue


class Received:
    """The task of a worker. It records its calls."""

    def __init__(self, expected: int) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._expected = expected
        self.all = threading.Event()

    def receive(self, *args: Any) -> None:
        self.calls.append(args)
        if len(self.calls) >= self._expected:
            self.all.set()


@contextmanager
def worker(settings: Settings, received: Received) -> Iterator[None]:
    """A real worker of the starter model, one task at a time."""
    app = make_celery(settings, role="worker", models=["starter"])
    app.task(received.receive, name=RESTORE_TASK, shared=False)
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
    Doorbell(api).ring("job_1", QueueName("starter", Priority.HIGH))
    (message,) = redis.lrange("restore.starter.high", 0, -1)
    args, kwargs, _ = json.loads(base64.b64decode(json.loads(message)["body"]))
    assert (args, kwargs) == (["job_1"], {})


@pytest.mark.parametrize("model", ["starter", 'of "my" own\\ü'])
def test_a_message_for_a_script_is_the_one_that_celery_sends(
    api: Celery, redis: Redis, model: str
) -> None:
    Doorbell(api).ring("job_1", QueueName(model, Priority.HIGH))
    (sent,) = redis.lrange(f"restore.{model}.high", 0, -1)
    made = Doorbell(api).message("job_1", QueueName(model, Priority.HIGH))
    assert without_ids(json.loads(made)) == without_ids(json.loads(sent))


def test_an_unacknowledged_doorbell_does_not_end_the_worker_when_redis_goes_away(
    tmp_path: Path, settings: Settings
) -> None:
    with Valkey(tmp_path) as server:
        app = make_celery(at_url(settings, server.url), role="worker", models=["starter"])
        Doorbell(app).ring("job_1", QueueName("starter", Priority.HIGH))
        connection = app.connection_for_read()
        assert connection.default_channel.basic_get("restore.starter.high")
        server.kill()
        connection.transport.client = None  # as Celery leaves it if Redis does not close in time
        connection.close()
        app.close()


def without_ids(message: dict[str, Any]) -> dict[str, Any]:
    """The message, without its own ids and without the fields of Celery's results."""
    del message["properties"]["reply_to"], message["headers"]["ignore_result"]
    names = message["headers"]["id"], message["properties"]["delivery_tag"]
    text = json.dumps(message)
    for name in names:
        text = text.replace(name, "id")
    return dict(json.loads(text))


def test_no_two_messages_have_the_same_id(api: Celery) -> None:
    doorbell, queue = Doorbell(api), QueueName("starter", Priority.LOW)
    made = [json.loads(doorbell.message("job_1", queue)) for _ in range(9)]
    assert len({message["properties"]["delivery_tag"] for message in made}) == 9


def test_a_worker_receives_a_message_that_a_script_has_sent(
    api: Celery, settings: Settings, redis: Redis
) -> None:
    queue = QueueName("starter", Priority.NORMAL).doorbells
    for number in range(3):
        message = Doorbell(api).message(f"job_{number}", QueueName("starter", Priority.NORMAL))
        redis.lpush(queue, message)
    received = Received(3)
    with worker(settings, received):
        assert received.all.wait(20)
    assert received.calls == [("job_0",), ("job_1",), ("job_2",)]


def test_high_priority_arrives_before_normal_before_low(
    api: Celery, settings: Settings, redis: Redis
) -> None:
    doorbell = Doorbell(api)
    for number in range(3):
        for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH):
            doorbell.ring(f"{priority}-{number}", QueueName("starter", priority))
    received = Received(9)
    with worker(settings, received):
        assert received.all.wait(20)
    order = [job_id.partition("-")[0] for (job_id,) in received.calls]
    assert order == ["high"] * 3 + ["normal"] * 3 + ["low"] * 3


def test_a_worker_reads_the_doorbells_of_its_pool_alone(
    api: Celery, settings: Settings, redis: Redis
) -> None:
    doorbell, received = Doorbell(api), Received(1)
    elsewhere = QueueName("starter", Priority.HIGH, "eu"), QueueName("starter", Priority.HIGH)
    for number, queue in enumerate(elsewhere):
        doorbell.ring(f"job_{number}", queue)
    doorbell.ring("ours", QueueName("starter", Priority.LOW, "gpu"))
    with worker(settings.model_copy(update={"pool": "gpu"}), received):
        assert received.all.wait(20)
    assert received.calls == [("ours",)]
    assert [redis.llen(queue.doorbells) for queue in elsewhere] == [1, 1]


def test_unknown_fields_of_a_newer_version_are_ignored(
    api: Celery, settings: Settings, redis: Redis
) -> None:
    Doorbell(api).ring("job_1", QueueName("starter", Priority.LOW))
    queue = QueueName("starter", Priority.LOW).doorbells
    message = json.loads(redis.lpop(queue))
    message["headers"]["colour"] = "blue"
    message["properties"]["colour"] = {"deep": ["blue"]}
    redis.rpush(queue, json.dumps(message | {"colour": "blue"}))
    received = Received(1)
    with worker(settings, received):
        assert received.all.wait(20)
    assert received.calls == [("job_1",)]


def test_a_worker_survives_a_redis_that_refuses_reads(
    api: Celery, settings: Settings, redis: Redis
) -> None:
    received = Received(1)
    with worker(settings, received):
        redis.config_set("min-replicas-to-write", 1)  # BRPOP writes: it is refused
        try:
            time.sleep(2.5)
        finally:
            redis.config_set("min-replicas-to-write", 0)
        Doorbell(api).ring("job_1", QueueName("starter", Priority.LOW))
        assert received.all.wait(30)
    assert received.calls == [("job_1",)]


def message_with(api: Celery, **changes: Any) -> str:
    """A doorbell with some headers or members changed; None removes one."""
    message = json.loads(Doorbell(api).message("job_1", QueueName("starter", Priority.LOW)))
    for name, value in changes.items():
        place = message["headers"] if name in message["headers"] else message
        if value is None:
            del place[name]
        else:
            place[name] = value
    return json.dumps(message)


FOREIGN: dict[str, dict[str, Any]] = {
    "a built-in task": {"task": "celery.backend_cleanup"},
    "an unknown task": {"task": "os.system"},
    "no task": {"task": None},
    "a task of no text": {"task": ["facemend.restore"]},
    "no id": {"id": None},
    "headers of no object": {"headers": "facemend.restore"},
    "no headers": {"headers": None},
    "no properties": {"properties": None},
    "properties of no object": {"properties": []},
    "a pickle": {"content-type": "application/x-python-serialize", "body": "gASVAA=="},
    "an unknown type": {"content-type": "text/html"},
    "a body that is no base64": {"body": "\u00e4"},
    "a body that is no JSON": {"body": base64.b64encode(b"{").decode()},
    "a body of another shape": {"body": base64.b64encode(b'{"a": 1}').decode()},
    "an impossible time": {"eta": "tomorrow"},
    "an impossible limit": {"timelimit": "soon"},
}


@pytest.mark.parametrize("foreign", FOREIGN)
def test_a_foreign_message_is_discarded_and_counted_and_the_worker_continues(
    api: Celery, settings: Settings, redis: Redis, foreign: str
) -> None:
    check_discarded(api, settings, redis, message_with(api, **FOREIGN[foreign]))


@pytest.mark.parametrize(
    "message", [b"", b"hello", b"\xff\xfe", b"null", b"[]", b"7", b'"text"', b"{}", b"[" * 100_000]
)
def test_an_invalid_message_is_discarded_and_the_worker_continues(
    api: Celery, settings: Settings, redis: Redis, message: bytes
) -> None:
    check_discarded(api, settings, redis, message)


def check_discarded(api: Celery, settings: Settings, redis: Redis, message: str | bytes) -> None:
    before = discarded()
    redis.lpush(QueueName("starter", Priority.LOW).doorbells, message)
    Doorbell(api).ring("job_2", QueueName("starter", Priority.LOW))
    received = Received(1)
    with worker(settings, received):
        assert received.all.wait(20)
    assert received.calls == [("job_2",)]
    assert discarded() == before + 1


def discarded() -> float:
    (metric,) = MESSAGES_DISCARDED.collect()
    return sum(sample.value for sample in metric.samples if sample.name.endswith("_total"))


@pytest.mark.parametrize("order", ["shutdown", "cancel_consumer", "pool_restart", "rate_limit"])
def test_a_broadcast_reaches_no_worker(
    api: Celery, settings: Settings, redis: Redis, order: str
) -> None:
    received = Received(1)
    with worker(settings, received):
        queue = QueueName("starter", Priority.LOW)
        api.control.broadcast(order, arguments={"queue": queue.doorbells})
        Doorbell(api).ring("job_1", queue)
        assert received.all.wait(20)


def test_a_worker_has_only_our_task(settings: Settings) -> None:
    app = make_celery(settings, role="worker", models=["starter"])
    app.task(Received(1).receive, name=RESTORE_TASK, shared=False)
    assert list(app.tasks) == [RESTORE_TASK]


@pytest.mark.parametrize("address", ["silent", "hole", "refused"])
def test_ringing_without_redis_raises_unavailable_in_time(
    address: str, request: pytest.FixtureRequest, settings: Settings
) -> None:
    app = make_celery(at_url(settings, request.getfixturevalue(address)), role="api")
    began = time.monotonic()
    with pytest.raises(Unavailable):
        Doorbell(app).ring("job_1", QueueName("starter", Priority.HIGH))
    assert time.monotonic() - began < MAX_WAIT_S + 0.5  # checks the limit, not the speed
    app.close()


def test_ringing_works_again_after_redis_came_back(tmp_path: Path, settings: Settings) -> None:
    with Valkey(tmp_path) as server:
        app = make_celery(at_url(settings, server.url), role="notifier")
        doorbell = Doorbell(app)
        doorbell.ring("job_1", QueueName("starter", Priority.HIGH))
        server.kill()
        with pytest.raises(Unavailable):
            doorbell.ring("job_2", QueueName("starter", Priority.HIGH))
        server.start()
        doorbell.ring("job_3", QueueName("starter", Priority.HIGH))
        client = Redis.from_url(server.url)
        assert client.llen("restore.starter.high") >= 1
        client.close()
        app.close()


def test_ringing_works_after_all_keys_of_celery_were_deleted(
    api: Celery, settings: Settings, redis: Redis
) -> None:
    doorbell = Doorbell(api)
    doorbell.ring("job_1", QueueName("starter", Priority.HIGH))
    redis.flushdb()
    doorbell.ring("job_2", QueueName("starter", Priority.HIGH))
    received = Received(1)
    with worker(settings, received):
        assert received.all.wait(20)
    assert received.calls == [("job_2",)]


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


def test_making_the_application_connects_to_nothing(settings: Settings, refused: str) -> None:
    make_celery(at_url(settings, refused), role="worker", models=["starter"])


def test_a_worker_tries_to_reconnect_often_and_never_gives_up(
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
