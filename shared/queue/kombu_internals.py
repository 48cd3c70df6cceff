"""Everything that depends on internals of kombu and Celery, checked with kombu 5.7 and Celery 5.7.

Three things have no public interface:

* ``MessageTemplate`` builds a message in the format of kombu's Redis transport. A Lua script can
  then send it in the same step in which it stores the job, so that no job is without a doorbell.
* ``NonRestoringChannel`` keeps a closing channel from using a connection that is closed already.
* ``PersistentConnection`` shortens kombu's fixed wait between two attempts to connect.

The tests of this package compare each with what kombu itself does; run them after an update.
"""

from __future__ import annotations

import base64
import json
from typing import Any
from uuid import uuid4

from celery import Celery
from kombu import Connection
from kombu.transport import redis

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


class _Transport(redis.Transport):
    Channel = NonRestoringChannel


class PersistentConnection(Connection):
    """A connection that tries again every few seconds; kombu waits up to 30 s."""

    def get_transport_cls(self) -> type[_Transport]:
        return _Transport

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        waits = {"interval_start": 1, "interval_step": 1, "interval_max": MAX_RECONNECT_WAIT_S}
        return super().ensure_connection(*args, **(waits | kwargs))
