"""The Redis connection: timeouts that bite, foreign errors translated, Lua scripts loaded.

One primary (with replicas if you like), not a cluster: a script touches the record and all its
indexes in one step, and they do not share a hash slot.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection
from redis.retry import Retry

from shared.errors import Internal, Refused, Unavailable
from shared.redis.request_deadline import limit_s, waiting
from shared.redis.script_includes import linked
from shared.redis.timed_socket import TimedSocket
from shared.settings import Settings

#: Answers with which Redis says that it cannot serve now; in a script of Redis 6 the word stands
#: somewhere in the sentence, and redis-py has no class for it.
_NOT_NOW = (
    redis.OutOfMemoryError,
    redis.ReadOnlyError,
    redis.exceptions.NoPermissionError,
    redis.exceptions.ClusterDownError,
)
_NOT_NOW_WORDS = ("-OOM ", "READONLY ", "MISCONF ", "NOREPLICAS ", "BUSY ", "MASTERDOWN ")


def redis_key(*parts: str) -> str:
    """The name of a key of ours: ``fm:`` and the parts. ``lua/prelude.lua`` has the same."""
    return "fm:" + ":".join(parts)


def tenant_key(tenant: str, *parts: str) -> str:
    """The name of a key that belongs to one tenant."""
    return redis_key("tenant", tenant, *parts)


class _Patient(AbstractConnection):
    """Waits no longer than the request that uses it may still wait."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._longest_s = float(self.socket_connect_timeout or 0), float(self.socket_timeout or 0)

    def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        connect_s, answer_s = self._longest_s
        self.socket_connect_timeout, self.socket_timeout = limit_s(connect_s), limit_s(answer_s)
        super().connect_check_health(*args, **kwargs)

    def send_packed_command(self, *args: Any, **kwargs: Any) -> None:
        self._limit()
        super().send_packed_command(*args, **kwargs)  # type: ignore[no-untyped-call]

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        self._limit()
        return super().read_response(*args, **kwargs)  # type: ignore[no-untyped-call]

    def _limit(self) -> None:
        opened, longest_s = self._get_socket(), limit_s(self._longest_s[1])
        if opened is not None:
            opened.settimeout(longest_s)


class _Plain(_Patient, redis.Connection):
    """Over TCP."""

    def _connect(self) -> TimedSocket:
        return TimedSocket.on(super()._connect())  # type: ignore[no-untyped-call]


class _Encrypted(_Patient, redis.SSLConnection):
    """Over TLS."""


_CONNECTIONS: dict[str, type[AbstractConnection]] = {"redis": _Plain, "rediss": _Encrypted}


def connect(settings: Settings) -> redis.Redis:
    """A thread-safe client with text answers; connects at the first command.

    Nothing waits longer than about ``settings.redis_timeout_s``, connecting included: not for a
    host that does not answer, not for one that accepts and stays silent; and a request no longer
    than its ``Patience`` allows for all its calls. A connection that was cut is replaced once, so
    a command may run twice: the scripts answer a second time as before.
    """
    url = settings.redis_url.get_secret_value()
    kind = _CONNECTIONS.get(urlsplit(url).scheme)
    return redis.Redis.from_url(
        url,
        **({"connection_class": kind} if kind else {}),
        decode_responses=True,
        socket_connect_timeout=0.4 * settings.redis_timeout_s,
        socket_timeout=0.6 * settings.redis_timeout_s,
        socket_keepalive=True,
        health_check_interval=0,  # would add a round trip that can hang as long as a command
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    )


@contextmanager
def redis_errors() -> Iterator[None]:
    """Translate what redis-py raises: Unavailable for an outage, Internal for a bug of ours.

    Refused, an Unavailable, if Redis is there and says that nothing was done.

    The block counts as waiting for Redis (see ``shared.redis.request_deadline``).
    """
    with waiting("redis"):
        try:
            yield
        except (redis.ResponseError, redis.DataError) as error:
            words = any(word in str(error) for word in _NOT_NOW_WORDS)
            if isinstance(error, _NOT_NOW) or words:
                raise Refused("The job store cannot serve at the moment") from error
            raise Internal(f"Redis refused a command: {error}") from error
        except redis.RedisError as error:
            raise Unavailable("The job store does not answer") from error


#: What scripts begin with, in this order: each part uses those before it.
PRELUDE = ("prelude", "waiting", "outbox", "states")


def prelude(folder: Traversable | None = None) -> str:
    """The functions that scripts share; each gets those that it uses (see ``linker``)."""
    texts = _texts(folder or resources.files("shared") / "lua")
    return "".join(texts[part] for part in PRELUDE)


def _texts(folder: Traversable) -> dict[str, str]:
    """All scripts in ``folder`` and the folders in it, by file name without its ending."""
    texts: dict[str, str] = {}
    for entry in folder.iterdir():
        if entry.is_dir():
            texts |= _texts(entry)
        elif entry.name.endswith(".lua"):
            texts[entry.name.removesuffix(".lua")] = entry.read_text("utf-8")
    return texts


class Scripts:
    """The scripts of ``shared/lua`` or another ``folder``, each run as one atomic step.

    Each thread has a connection of its own for them: with what redis-py does and notes for itself
    whenever it takes one out of its pool, a call would cost twice as much.
    """

    def __init__(self, client: redis.Redis, folder: Traversable | None = None) -> None:
        folder = folder or resources.files("shared") / "lua"
        texts = _texts(folder)
        before = prelude(folder)
        self._texts = {
            name: linked(before, text) for name, text in texts.items() if name not in PRELUDE
        }
        self._names = {
            name: sha1(text.encode(), usedforsecurity=False).hexdigest()
            for name, text in self._texts.items()
        }
        self._pool = client.connection_pool
        self._own = threading.local()

    def run(self, name: str, *args: str | float) -> Any:
        """Run one script (EVALSHA, and EVAL when Redis does not know it yet).

        Raises Unavailable.
        """
        with redis_errors():
            try:
                return self._ask("EVALSHA", self._names[name], 0, *args)
            except redis.exceptions.NoScriptError:
                return self._ask("EVAL", self._texts[name], 0, *args)

    def _ask(self, *command: str | float) -> Any:
        connection = self._connection()
        try:
            return _exchange(connection, command)
        except redis.ConnectionError:  # cut: a new one, once
            return _exchange(connection, command)

    def _connection(self) -> Any:  # redis-py publishes no types for it
        own = getattr(self._own, "connection", None)
        if own is None or own.pid != os.getpid():  # that of another process must stay untouched
            own = self._own.connection = self._pool.make_connection()
        return own


def _exchange(connection: Any, command: tuple[str | float, ...]) -> Any:
    """Send and read, or close: no later command may find an answer that is not its own."""
    try:
        connection.send_command(*command)
        return connection.read_response()
    except redis.ResponseError:
        raise  # it was read
    except BaseException:
        connection.disconnect()
        raise
