"""Everything that depends on internals of kombu and Celery, checked with kombu 5.7 and Celery 5.7.

Five things have no public interface:

* ``MessageTemplate`` builds a message in the format of kombu's Redis transport. A Lua script can
  then send it in the same step in which it stores the job, so that no job is without a doorbell.
* ``NonRestoringChannel`` keeps a closing channel from using a connection that is closed already.
* ``PersistentConnection`` shortens kombu's fixed wait between two attempts to connect.
* ``_Transport`` discards a message that kombu cannot read; the error would end the worker.
* ``Consumer`` discards a message that is no task of ours. Celery would log all of its content.

The tests of this package compare each with what kombu itself does; run them after an update.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from celery import Celery
from celery.worker import consumer, state
from kombu import Connection
from kombu.transport import redis
from redis import RedisError
from vine import promise

from shared.telemetry import MESSAGES_DISCARDED

_log = logging.getLogger(__name__)

#: The longest wait between two attempts of a worker to connect to Redis, in seconds.
MAX_RECONNECT_WAIT_S = 5
#: Placeholders in a template.
_TASK, _ARGUMENT, _BODY, _QUEUE = "<task>", "<argument>", "<body>", "<queue>"


class MessageTemplate:
    """Makes messages of one task with one text argument, as Celery sends them to Redis."""

    def __init__(self, celery: Celery, task: str) -> None:
        args: Any = [_ARGUMENT]  # a list, as ``send_task`` gets it; the published type is a tuple
        message = celery.amqp.as_task_v2(_TASK, task, args=args, kwargs={})
        properties = {
            "correlation_id": _TASK,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": _QUEUE},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": _TASK,
        }
        self._body = json.dumps(message.body)
        self._message = json.dumps(
            {
                "body": _BODY,
                "content-encoding": "utf-8",
                "content-type": "application/json",
                "headers": message.headers,
                "properties": message.properties | properties,
            }
        )

    def fill(self, queue: str, argument: str) -> str:
        """Return a new message for ``queue``: the list element of kombu's Redis transport."""
        body = base64.b64encode(self._body.replace(_ARGUMENT, argument).encode()).decode()
        message = self._message
        for placeholder, value in (
            (_BODY, body),
            (_ARGUMENT, argument),
            (_TASK, str(uuid4())),
            (_QUEUE, json.dumps(queue)[1:-1]),
        ):
            message = message.replace(placeholder, value)
        return message


class NonRestoringChannel(redis.Channel):
    """A channel that does not return unacknowledged messages when it closes.

    kombu 5.7 would use a connection that is closed already, which ends the worker.
    """

    do_restore = False

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]  # no type published
        except (ValueError, RecursionError) as error:  # neither UTF-8 nor JSON
            _discarded("not JSON", error)
            return True


class _NonRestoringSentinelChannel(NonRestoringChannel, redis.SentinelChannel):
    """The same, for a server that Sentinels watch."""


class _Transport(redis.Transport):
    Channel = NonRestoringChannel

    def _deliver(self, message: Any, queue: str | None) -> None:
        try:
            super()._deliver(message, queue)
        except (RedisError, OSError):
            raise
        except Exception as error:  # noqa: BLE001  # whatever a foreign message makes of the code
            _discarded("not a message of Celery", error)


class _SentinelTransport(_Transport, redis.SentinelTransport):
    Channel = _NonRestoringSentinelChannel


class Consumer(consumer.Consumer):
    """Discards and counts what is no task of ours. The content is not logged: it is anybody's."""

    def create_task_handler(self, promise: Any = promise) -> Callable[[Any], None]:
        handle = super().create_task_handler(promise)

        def receive(message: Any) -> None:
            before = set(state.reserved_requests)
            try:
                handle(message)
            except (RedisError, OSError):
                raise
            except Exception as error:  # noqa: BLE001  # likewise
                self._discard(message, "not a task", error)
                for request in state.reserved_requests - before:
                    state.task_ready(request)  # or it would occupy a place of this worker

        return receive

    def on_unknown_message(self, body: Any, message: Any) -> None:
        self._discard(message, "not a task", None)

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        self._discard(message, "unknown task", exc)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        self._discard(message, "invalid task", exc)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        self._discard(message, "not decodable", exc)

    def _discard(self, message: Any, reason: str, error: Exception | None) -> None:
        _discarded(reason, error)
        message.reject_log_error(_log, (RedisError, OSError))


def _discarded(reason: str, error: Exception | None) -> None:
    MESSAGES_DISCARDED.labels(reason=reason).inc()
    _log.warning("a message was discarded: %s (%s)", reason, type(error).__name__)


class PersistentConnection(Connection):
    """A connection that tries again every few seconds; kombu waits up to 30 s."""

    def get_transport_cls(self) -> type[_Transport]:
        return _SentinelTransport if self.transport_cls == "sentinel" else _Transport

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        waits = {"interval_start": 1, "interval_step": 1, "interval_max": MAX_RECONNECT_WAIT_S}
        return super().ensure_connection(*args, **(waits | kwargs))
