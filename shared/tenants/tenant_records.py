"""All keys in Redis that belong to one tenant, whatever their type."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, TypeVar, cast

from shared.redis.client import redis_errors
from shared.redis.keys import redis_key, tenant_key
from shared.redis.scripts import Scripts

T = TypeVar("T")
#: Keys that one pipeline reads or writes.
_STEP = 500
#: Kinds of keys whose hash ``fm:<kind>:<id>`` has the field ``tenant``.
_WITH_TENANT = frozenset({"job", "batch", "delivery", "key", "erased"})
#: Kinds whose names have the tenant after the kind: which jobs are equal.
_OF_TENANT = frozenset({"result", "maker", "waiting"})
#: Kinds that belong to an API key, whose id follows.
_OF_KEY = frozenset({"usage", "idempotency"})
#: Of an API key that was moved: so long the cell answers its requests, and says that it was moved.
_KEY_REMEMBERED_S = 86_400
_TOMBSTONE_S = 86_400


@dataclass(frozen=True, slots=True)
class Record:
    """The content of one key. ``ttl_ms``: until it ends by itself, None for never."""

    kind: str
    content: Any
    ttl_ms: int | None

    def same_as(self, other: Record | None) -> bool:
        return other is not None and (self.kind, self.content) == (other.kind, other.content)


@dataclass(frozen=True, slots=True)
class Held:
    """How many ``jobs`` were taken out of their queues, and on what processes work (``busy``).

    That are the ids of running jobs, and the keys of batches that are being erased.
    """

    jobs: int
    busy: list[str]


class TenantRecords:
    """The records of one tenant in one Redis. Every method raises Unavailable."""

    def __init__(self, tenant: str, scripts: Scripts) -> None:
        self._tenant, self._scripts, self._redis = tenant, scripts, scripts.client
        self._arriving = tenant_key(tenant, "arriving")

    def names(self) -> set[str]:
        """Return the names of all keys of the tenant. Reads the names of all keys in Redis."""
        of_tenant = (redis_key(kind, self._tenant, "") for kind in _OF_TENANT)
        prefixes, found = (tenant_key(self._tenant, ""), *of_tenant), set[str]()
        with redis_errors():
            every: Iterator[str] = self._redis.scan_iter(match=redis_key("*"), count=1000)
            for names in _steps(every):
                found |= {name for name in names if name.startswith(prefixes)}
                owner_of = self._owners(names)
                owners = self._ask(lambda pipe, key: pipe.hget(key, "tenant"), owner_of.values())
                found |= {name for name, key in owner_of.items() if owners[key] == self._tenant}
        return found - {self._arriving}

    def _owners(self, names: Iterable[str]) -> dict[str, str]:
        """Return the hash whose field ``tenant`` says whose each key is, for those with one."""
        owner_of, lanes = dict[str, str](), list[str]()
        for name in names:
            _, kind, *rest = name.split(":")
            if kind in _WITH_TENANT and rest:
                owner_of[name] = redis_key(kind, rest[0])
            elif kind in _OF_KEY:
                owner_of[name] = redis_key("key", rest[0])
            elif kind == "lane":
                lanes.append(name)
        for lane, first in self._ask(lambda pipe, key: pipe.zrange(key, 0, 0), lanes).items():
            if first:
                owner_of[lane] = redis_key("delivery", first[0])
        return owner_of

    def _ask(self, command: Callable[[Any, str], object], keys: Iterable[str]) -> dict[str, Any]:
        unique = list(dict.fromkeys(keys))
        with self._redis.pipeline(transaction=False) as pipe:
            for key in unique:
                command(pipe, key)
            return dict(zip(unique, pipe.execute(), strict=True))

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, Record]]:
        """Yield the records that exist, a few hundred with each round trip."""
        for step in _steps(sorted(names)):
            with redis_errors():
                kinds = self._ask(lambda pipe, key: pipe.type(key), step)
                contents = self._ask(partial(_read, kinds), step)
                ttls = self._ask(lambda pipe, key: pipe.pttl(key), step)
            for name in step:
                if kinds[name] != "none":
                    ttl_ms = ttls[name] if ttls[name] > 0 else None
                    yield name, Record(kinds[name], contents[name], ttl_ms)

    def write(self, records: Mapping[str, Record]) -> None:
        """Replace keys, at one moment. They are in no list that processes read, see ``admit``."""
        with redis_errors(), self._redis.pipeline(transaction=True) as pipe:
            for name, record in records.items():
                pipe.delete(name)
                _WRITE[record.kind](pipe, name, record.content)
                if record.ttl_ms is not None:
                    pipe.pexpire(name, record.ttl_ms)
            if waits := _to_admit(records):
                pipe.sadd(self._arriving, *waits)
                pipe.delete(*(redis_key("gone", each) for each in waits))  # it comes back
            pipe.execute()

    def hold(self, names: Collection[str]) -> Held:
        """Let nobody work on the tenant's jobs and webhooks any more.

        Jobs that run are left as they are. While they run, they may let others start: so call it
        until nothing is left to hold.
        """
        jobs, busy = 0, [name for name in names if name.startswith(redis_key("erased", ""))]
        for step in _steps(_to_admit(names) - _keys_in(names)):
            held, running = self._scripts.run("hold", names=step)
            jobs, busy = jobs + int(held), busy + running
        return Held(jobs, busy)

    def wait_to_be_admitted(self, names: Iterable[str]) -> None:
        """Undo ``hold``, by the next ``admit``."""
        if waits := _to_admit(names):
            with redis_errors():
                self._redis.sadd(self._arriving, *waits)

    def admit(self) -> None:
        """Let processes work on all that was written or held. A repeated call changes nothing."""
        while self._scripts.run("admit", tenant=self._tenant, limit=_STEP):
            pass

    def forget(self, names: Iterable[str], unfinished: Iterable[str]) -> None:
        """Remove records. Requests with the tenant's API keys are answered for another day.

        ``unfinished``: ids of jobs and batches that no late writer may restore.
        """
        with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            for job_id in unfinished:
                pipe.set(redis_key("gone", job_id), "1", ex=_TOMBSTONE_S)
            for name in names:
                if name.startswith(redis_key("key", "")):
                    pipe.zrem(redis_key("keys"), name.removeprefix(redis_key("key", "")))
                    pipe.expire(name, _KEY_REMEMBERED_S, lt=True)
                else:
                    pipe.delete(name)
            pipe.delete(self._arriving)
            pipe.execute()

    def remove(self, names: Iterable[str]) -> None:
        """Remove records without a trace."""
        for step in _steps(names):
            with redis_errors():
                self._redis.delete(*step)
                if ids := _keys_in(step):
                    self._redis.zrem(redis_key("keys"), *ids)
        with redis_errors():
            self._redis.delete(self._arriving)


def digest(records: Mapping[str, Record]) -> str:
    """Return the SHA-256 of records: equal for equal contents."""
    canonical = [[name, record.kind, _plain(record.content)] for name, record in records.items()]
    return hashlib.sha256(json.dumps(sorted(canonical), sort_keys=True).encode()).hexdigest()


def _plain(content: Any) -> Any:
    return sorted(content) if isinstance(content, set) else content


def _to_admit(names: Iterable[str]) -> set[str]:
    """Return what ``admit`` and ``hold`` call the keys that are in lists of processes."""
    found = set[str]()
    for name in names:
        parts = name.split(":")
        if len(parts) == 3 and parts[1] in {"job", "batch", "key"}:
            found.add(parts[2])
        elif parts[1] == "lane":
            found.add(f"lane:{parts[2]}")
    return found


def _keys_in(names: Iterable[str]) -> set[str]:
    prefix = redis_key("key", "")
    return {name.removeprefix(prefix) for name in names if name.startswith(prefix)}


def _steps(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while step := list(islice(rest, _STEP)):
        yield step


def _read(kinds: Mapping[str, str], pipe: Any, name: str) -> None:
    _READ[kinds[name]](pipe, name)


def _write_zset(pipe: Any, name: str, content: Any) -> None:
    pipe.zadd(name, dict(cast("list[tuple[str, float]]", content)))


_READ: dict[str, Callable[[Any, str], object]] = {
    "string": lambda pipe, name: pipe.get(name),
    "hash": lambda pipe, name: pipe.hgetall(name),
    "list": lambda pipe, name: pipe.lrange(name, 0, -1),
    "set": lambda pipe, name: pipe.smembers(name),
    "zset": lambda pipe, name: pipe.zrange(name, 0, -1, withscores=True),
    "none": lambda pipe, name: pipe.exists(name),  # it ended a moment ago
}
_WRITE: dict[str, Callable[[Any, str, Any], object]] = {
    "string": lambda pipe, name, content: pipe.set(name, content),
    "hash": lambda pipe, name, content: pipe.hset(name, mapping=content),
    "list": lambda pipe, name, content: pipe.rpush(name, *content),
    "set": lambda pipe, name, content: pipe.sadd(name, *content),
    "zset": _write_zset,
}
