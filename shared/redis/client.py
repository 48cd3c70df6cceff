"""The Redis connection: time limits that hold, and Redis' errors translated into our own.

Redis is one primary (with replicas and Sentinels if you like), not a cluster: a script touches the
record and all its indexes in one step, and they do not share a hash slot.
"""

from __future__ import annotations

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection, parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelManagedConnection

from shared.errors import FacemendError, Internal, Refused, SettingsInvalid, Unavailable
from shared.redis.request_deadline import limit_s, waiting
from shared.redis.url import RedisUrl
from shared.settings import Settings
from shared.telemetry import REDIS_ERRORS
from shared.timed_socket import TimedSocket

#: Errors of a Redis that cannot serve now. For a script of Redis 6 the word is inside the sentence,
#: and redis-py has no class for it.
_NOT_NOW = (
    redis.OutOfMemoryError,
    redis.ReadOnlyError,
    redis.exceptions.NoPermissionError,
    redis.exceptions.ClusterDownError,
)
_NOT_NOW_WORDS = ("-OOM ", "READONLY ", "MISCONF ", "NOREPLICAS ", "BUSY ", "MASTERDOWN ")


class _DeadlineConnection(AbstractConnection):
    """Waits no longer than the deadline of the request that uses it allows."""

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


class _TcpConnection(_DeadlineConnection, redis.Connection):
    """Connects over TCP."""

    def _connect(self) -> TimedSocket:
        return TimedSocket.on(super()._connect())  # type: ignore[no-untyped-call]


class _TlsConnection(_DeadlineConnection, redis.SSLConnection):
    """Connects over TLS."""


class _UnixConnection(_DeadlineConnection, redis.UnixDomainSocketConnection):
    """Connects to a socket of this machine."""


class _SentinelConnection(_DeadlineConnection, SentinelManagedConnection):
    """Asks the Sentinels for the primary each time that it connects."""

    def send_packed_command(self, *args: Any, **kwargs: Any) -> None:
        if self._get_socket() is None:
            # redis-py would connect to a host that nobody has asked for.
            self.connect()  # type: ignore[no-untyped-call]
        super().send_packed_command(*args, **kwargs)


_CONNECTIONS: dict[str, Any] = {
    "redis": _TcpConnection,
    "rediss": _TlsConnection,
    "unix": _UnixConnection,
}


def connect(settings: Settings) -> redis.Redis:
    """Return a thread-safe client that decodes text. It connects at the first command.

    A command waits at most about ``settings.redis_timeout_s``, with the time to connect, even if
    the host is unreachable or accepts and stays silent. All calls of a request together wait as
    long as its ``RequestDeadline`` allows. A connection that breaks is replaced once, so a command
    may run twice: the second run of a script returns what the first one did.
    """
    url = RedisUrl.of(settings)
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_connect_timeout": 0.4 * settings.redis_timeout_s,
        "socket_timeout": 0.6 * settings.redis_timeout_s,
        **({} if url.scheme == "unix" else {"socket_keepalive": True}),
        "health_check_interval": 0,  # would add a round trip that can hang as long as a command
        "retry": Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    }
    try:
        if url.service:
            client = _watched_by_sentinels(url, options)
        else:
            client = redis.Redis.from_url(
                url.for_redis_py, connection_class=_CONNECTIONS[url.scheme], **options
            )
        client.connection_pool.make_connection()  # checks the options; does not connect
    except (TypeError, ValueError, redis.RedisError) as error:
        raise SettingsInvalid(f"FACEMEND_REDIS_URL: an option is wrong: {error}") from None
    return client


def _watched_by_sentinels(url: RedisUrl, options: dict[str, Any]) -> redis.Redis:
    """Return a client that follows the primary from one server to the next."""
    own = parse_url(url.for_redis_py)  # type: ignore[no-untyped-call]  # credentials, database and options, each of its type
    own.pop("host")
    # A Sentinel that does not respond must leave time to ask the next one.
    asked_s = {
        name: options[name] / 2 / len(url.nodes)
        for name in ("socket_connect_timeout", "socket_timeout")
    }
    sentinels = Sentinel(  # type: ignore[no-untyped-call]
        url.nodes,
        sentinel_kwargs={**asked_s, **url.sentinel_credentials, "retry": Retry(NoBackoff(), 0)},
    )
    client: redis.Redis = sentinels.master_for(  # type: ignore[no-untyped-call]
        url.service, connection_class=_SentinelConnection, **(own | options)
    )
    return client


class redis_errors(waiting):  # noqa: N801  # used as a function, like ``contextlib.suppress``
    """Translate redis-py's errors: Unavailable for an outage, Internal for a bug of ours.

    Raises Refused, an Unavailable, if Redis responds that it cannot serve and did nothing. The
    block counts as waiting for Redis.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("redis")

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        translated = error
        if isinstance(error, redis.RedisError):
            outcome, translated = _translate(error)
            REDIS_ERRORS.labels(outcome).inc()
        super().__exit__(kind, translated, traceback)
        if translated is not None and translated is not error:
            raise translated from error


def _translate(error: redis.RedisError) -> tuple[str, FacemendError]:
    """Return what the metric calls it, and our own error."""
    if not isinstance(error, redis.ResponseError | redis.DataError):
        return "unavailable", Unavailable("The job store does not respond")
    words = any(word in str(error) for word in _NOT_NOW_WORDS)
    if isinstance(error, _NOT_NOW) or words:
        return "refused", Refused("The job store cannot serve at the moment")
    return "bug", Internal(f"Redis refused a command: {error}")
