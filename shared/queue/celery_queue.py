"""Celery as a doorbell: messages carry a job's id and nothing else.

The job record is the truth (``shared.jobs.store``), so Celery's results, retries, countdowns and
time limits are not used: a message may be lost or doubled at will.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal
from uuid import uuid4

from celery import Celery
from kombu import Connection, Queue
from kombu.exceptions import OperationalError
from kombu.transport import redis
from redis import RedisError

from shared.errors import Unavailable
from shared.jobs.job import Priority
from shared.settings import Settings

RESTORE_TASK = "facemend.restore"
#: Blanks in the message of a task.
_TASK, _JOB, _BODY, _QUEUE = "<task>", "<job>", "<body>", "<queue>"
#: The longest pause of a worker between two looks for a Redis that is away.
LOOK_AGAIN_S = 5
#: What a process does with the queues: the worker reads them, the others only ring.
Role = Literal["worker", "api", "notifier"]


def restore_queue(model: str, priority: Priority) -> str:
    """The queue of one model and priority; GPU pools may serve any choice of them."""
    return f"restore.{model}.{priority}"


def make_celery(settings: Settings, *, role: Role, models: Sequence[str] = ()) -> Celery:
    """The Celery application of one process; connects to nothing.

    A worker reads the queues of ``models`` (default: ``settings.served_models``): all of high
    priority before any of normal, and those before low.
    """
    app = Celery("facemend", broker=settings.redis_url.get_secret_value(), set_as_current=False)
    served = models or settings.served_models
    queues = [Queue(restore_queue(model, rank)) for rank in Priority for model in served]
    app.conf.update(
        # A message is a doorbell: once heard, it has done its work. One that is to be acknowledged
        # later ends the worker when Redis goes away meanwhile (kombu 5.7 asks a closed connection).
        task_acks_late=False,
        task_reject_on_worker_lost=False,  # it would run a poison job for ever
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,  # with every place taken, bells ring for other workers
        worker_concurrency=settings.jobs_in_flight,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        # A Redis that refuses (its disk full, its replicas gone) is looked for again, too.
        broker_channel_error_retry=True,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_serializer="json",
        accept_content=["json"],
        task_publish_retry=False,
        broker_connection_timeout=2,
        broker_transport_options=_transport_options(settings, role),
        broker_pool_limit=settings.api_threads if role == "api" else 10,
    )
    if role == "worker":
        app.amqp.Connection = _PatientConnection
        app.conf.broker_connection_max_retries = None  # as long as it takes
        if queues:
            app.conf.update(task_queues=queues)
    return app


def _transport_options(settings: Settings, role: Role) -> dict[str, object]:
    options: dict[str, object] = {
        # There is no heartbeat behind it: shorter than a job, it would start the job twice.
        "visibility_timeout": 2 * settings.job_deadline_s,
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 5,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "queue_order_strategy": "priority",  # in the order of declaration, not in turn
        "priority_steps": [0],  # our priorities are queues; one Redis list each is enough
    }
    if role != "worker":
        # A request waits for these.
        options |= {
            "socket_connect_timeout": 0.4 * settings.redis_timeout_s,
            "socket_timeout": 0.6 * settings.redis_timeout_s,
            "max_retries": 0,  # of connecting; the dispatcher rings again
        }
    return options


class _Channel(redis.Channel):
    """Gives nothing back when it closes: a bell that was not heard rings again.

    kombu 5.7 would ask a connection that is closed already, which ends the worker.
    """

    do_restore = False


class _Transport(redis.Transport):
    Channel = _Channel


class _PatientConnection(Connection):
    """Looks for a Redis that is away every few seconds; kombu would come to look every 30."""

    def get_transport_cls(self) -> type[_Transport]:
        return _Transport

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        waits = {"interval_start": 1, "interval_step": 1, "interval_max": LOOK_AGAIN_S}
        return super().ensure_connection(*args, **(waits | kwargs))


class Doorbell:
    """Tells workers that there may be something to do. Best effort: the dispatcher rings again."""

    def __init__(self, celery: Celery) -> None:
        self._celery = celery

    def ring(self, job_id: str, model: str, priority: Priority) -> None:
        """Raises Unavailable within about three seconds if Redis does not take the message."""
        try:
            self._celery.send_task(
                RESTORE_TASK, args=[job_id], queue=restore_queue(model, priority), retry=False
            )
        except (OperationalError, RedisError, OSError) as error:
            raise Unavailable("The queue does not answer") from error

    def message(self, job_id: str, model: str, priority: Priority) -> str:
        """What ``ring`` puts into the queue, for a script that puts it there with the job."""
        body, message = self._blank
        packed = base64.b64encode(body.replace(_JOB, job_id).encode()).decode()
        own = {_BODY: packed, _JOB: job_id, _TASK: str(uuid4())}
        own[_QUEUE] = json.dumps(restore_queue(model, priority))[1:-1]
        for blank, value in own.items():
            message = message.replace(blank, value)
        return message

    @cached_property
    def _blank(self) -> tuple[str, str]:
        """Our task as Celery would send it, with blanks for what each has of its own.

        Its body, and the message around that.
        """
        args: Any = [_JOB]  # as ``ring`` gives it; the published type knows tuples alone
        task = self._celery.amqp.as_task_v2(_TASK, RESTORE_TASK, args=args, kwargs={})
        properties = {
            "correlation_id": _TASK,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": _QUEUE},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": _TASK,
        }
        message = {
            "body": _BODY,
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": task.headers,
            "properties": task.properties | properties,
        }
        return json.dumps(task.body), json.dumps(message)
