"""Celery as a doorbell: a message wakes a worker, and carries a job id and nothing else.

The job record decides what happens (``shared.jobs.store``), so a message may be lost or repeated.
Celery's results, retries, countdowns and time limits are not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Literal

from celery import Celery
from kombu import Queue
from kombu.exceptions import OperationalError
from redis import RedisError

from shared.errors import Unavailable
from shared.jobs.job import Priority
from shared.jobs.queues import QueueName
from shared.queue.kombu_internals import Consumer, MessageTemplate, PersistentConnection
from shared.redis.url import RedisUrl
from shared.settings import Settings

RESTORE_TASK = "facemend.restore"
#: How a process uses the queues: a worker reads them, the others only ring.
Role = Literal["worker", "api", "notifier"]


def make_celery(settings: Settings, *, role: Role, models: Sequence[str] = ()) -> Celery:
    """Make the Celery application of one process. It does not connect yet.

    A worker reads the queues of ``models`` (default: ``settings.served_models``) in its pool: first
    all of high priority, then normal, then low.
    """
    app = Celery("facemend", broker=RedisUrl.of(settings).for_kombu, set_as_current=False)
    served = models or settings.served_models
    queues = [
        Queue(QueueName(model, rank, settings.pool).doorbells)
        for rank in Priority
        for model in served
    ]
    app.conf.update(
        # A doorbell has done its work when it was received. A late acknowledgement ends the worker
        # if Redis goes away in between (kombu 5.7 uses a closed connection).
        task_acks_late=False,
        task_reject_on_worker_lost=False,  # would run a poisoned job for ever
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,  # a busy worker leaves doorbells to other workers
        worker_concurrency=settings.jobs_in_flight,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        # Connect again also after Redis refused (its disk is full, its replicas are gone).
        broker_channel_error_retry=True,
        worker_enable_remote_control=False,  # a broadcast could stop every worker
        worker_send_task_events=False,
        worker_consumer=f"{Consumer.__module__}:{Consumer.__qualname__}",
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_serializer="json",
        accept_content=["json"],
        task_publish_retry=False,
        broker_connection_timeout=2,
        broker_transport_options=_transport_options(settings, role),
        broker_pool_limit=settings.api_threads if role == "api" else 10,
    )
    for name in list(app.tasks):  # Celery's own, which anybody who reaches Redis could call
        app.tasks.unregister(name)
    if role == "worker":
        app.amqp.Connection = PersistentConnection
        app.conf.broker_connection_max_retries = None  # never give up
        if queues:
            app.conf.update(task_queues=queues)
    return app


def _transport_options(settings: Settings, role: Role) -> dict[str, object]:
    options: dict[str, object] = {
        # Nothing renews it: if it were shorter than a job, the job would start twice.
        "visibility_timeout": 2 * settings.job_deadline_s,
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 5,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "queue_order_strategy": "priority",  # in the order of declaration, not round robin
        "priority_steps": [0],  # a queue has one priority, so one Redis list is enough
    }
    url = RedisUrl.of(settings)
    if url.service:
        waits = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0}  # of one Sentinel
        options |= {
            "master_name": url.service,
            "sentinel_kwargs": {**waits, **url.sentinel_credentials},
        }
    if role != "worker":
        # A request may wait for these.
        options |= {
            "socket_connect_timeout": 0.4 * settings.redis_timeout_s,
            "socket_timeout": 0.6 * settings.redis_timeout_s,
            "max_retries": 0,  # of connecting: the dispatcher rings again
        }
    return options


class Doorbell:
    """Wakes workers, because a queue may have work. Best effort: the dispatcher rings again."""

    def __init__(self, celery: Celery) -> None:
        self._celery = celery

    def ring(self, job_id: str, queue: QueueName) -> None:
        """Send a doorbell. Raises Unavailable after about three seconds without Redis."""
        try:
            self._celery.send_task(RESTORE_TASK, args=[job_id], queue=queue.doorbells, retry=False)
        except (OperationalError, RedisError, OSError) as error:
            raise Unavailable("The queue does not respond") from error

    def message(self, job_id: str, queue: QueueName) -> str:
        """Return the message that ``ring`` sends, for a script that sends it with the job."""
        return self._template.fill(queue.doorbells, job_id)

    @cached_property
    def _template(self) -> MessageTemplate:
        return MessageTemplate(self._celery, RESTORE_TASK)
