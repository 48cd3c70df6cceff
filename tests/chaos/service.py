"""The whole service for rows to break: several of each process, each with its own proxies.

Every process reaches Redis and S3 through proxies that belong to it alone; this suite itself looks
past them. Children live as long as the thread that started them: start them from the main one.
"""

from __future__ import annotations

import itertools
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import httpx
from pydantic import SecretStr
from redis import Redis

from deploy.embedded.child_process import ChildProcess, free_port
from deploy.embedded.seaweedfs import SeaweedFS
from deploy.embedded.valkey import Valkey, valkey_binary
from shared.errors import NotFound, StackFailed
from shared.jobs.job import Job
from shared.jobs.store import JobStore
from shared.redis.client import connect
from shared.redis.scripts import Scripts
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from shared.tenants.api_keys import KeyRing
from shared.webhooks.outbox import Outbox
from tests.chaos.proxy import Proxy
from tests.chaos.restorers import MODEL, RUNS
from tests.chaos.small_disk import SmallDisk
from tests.sentinel import WatchedRedis

TENANT = "acme"
_ROOT = Path(__file__).resolve().parents[2]
_MODULES = {
    "api": ["api"],
    "worker": ["tests.chaos.worker"],
    "real-worker": ["worker.app"],
    "notifier": ["worker.notifier"],
}
_READY = '"event": "ready'
_READY_S = 60.0


@dataclass
class Part:
    """One process, with its proxies to Redis and S3."""

    kind: str
    child: ChildProcess
    redis: Proxy
    s3: Proxy
    url: str = ""
    ready_before: int = 0  # how often its log said that it is ready, before this start

    @property
    def pid(self) -> int:
        return self.child.pid

    def kill(self) -> None:
        """Send SIGKILL: to the group of the API, or only to the leader of another process."""
        if self.kind == "api":
            self.child.kill_group()
        self.child.signal(signal.SIGKILL)
        while self.child.running:
            time.sleep(0.005)

    def freeze(self) -> None:
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)

    def log(self) -> str:
        return (
            self.child.log_path.read_text(errors="replace") if self.child.log_path.exists() else ""
        )


@dataclass
class Service:
    """``settings`` are FACEMEND_ settings of all processes, over those that this suite makes.

    With ``small_disk``, Redis writes to a disk of its own, where this machine lets us make one.
    With ``sentinel``, Redis is a primary and a replica that three Sentinels watch. Processes reach
    it without proxies, because they ask the Sentinels where it is.
    """

    folder: Path
    seed: int = 0
    appendfsync: Literal["everysec", "always"] = "everysec"
    small_disk: bool = False
    sentinel: bool = False
    settings: Mapping[str, object] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.notes = self.folder / "notes"
        self.notes.mkdir(parents=True)
        self._pepper = secrets.token_urlsafe(24)
        self._count = itertools.count(1)
        self.disk = SmallDisk(self.folder / "redis-disk")
        server = valkey_binary()
        if self.small_disk and self.disk.possible:
            server = self.disk.launcher(server, "--dir", str(self.folder / "redis-disk"))
        self.valkey = Valkey(
            self.folder / "redis", appendfsync=self.appendfsync, binary=server
        ).start()
        if self.sentinel:
            self.watched = WatchedRedis(self.folder / "watched-redis").__enter__()
        self.seaweed = SeaweedFS(self.folder / "s3").start()
        self.own = Settings(_env_file=None, **self._values(self.valkey.port, None))  # type: ignore[arg-type]
        # Only this client may run administrative commands; the service may not.
        admin_url = self.watched.url if self.sentinel else self.valkey.admin_url
        admin = self.own.model_copy(update={"redis_url": SecretStr(admin_url)})
        self.redis: Redis = connect(admin)
        scripts = Scripts(connect(self.own))
        self.store, self.outbox = JobStore(scripts, self.own), Outbox(scripts)
        self.storage = ObjectStorage(self.own)
        self.keys = KeyRing(scripts, self.own.api_key_pepper)
        return self

    def __exit__(self, *exception: object) -> None:
        for part in self.parts:
            part.child.signal(signal.SIGCONT)
            part.child.signal(signal.SIGTERM)
        for part in self.parts:
            part.child.stop(grace_s=8)
            part.redis.close()
            part.s3.close()
        self.redis.close()
        self.seaweed.stop()
        self.valkey.stop()
        if self.sentinel:
            self.watched.__exit__()

    # --- processes ----------------------------------------------------------------------------

    def start(self, *kinds: str, **env: Any) -> list[Part]:
        """Start one process of each kind and wait until all are ready."""
        started = [self.launch(kind, **env) for kind in kinds]
        for part in started:
            self.wait_ready(part)
        return started

    def launch(
        self,
        kind: str,
        *,
        argv: tuple[str, ...] = (),
        module: Sequence[str] | None = None,
        **env: object,
    ) -> Part:
        """Start one process without waiting. ``env``: settings for this process only.

        ``module``: its module and arguments, if they are not those of this release.
        """
        number = next(self._count)
        redis = Proxy(self.valkey.port or 0, seed=self.seed + number)
        s3 = Proxy(self.seaweed.ports["s3"], seed=self.seed - number)
        folder = self.folder / f"{kind}-{number}"
        folder.mkdir()
        values = self._values(redis.port, s3.port) | env
        if kind == "api":
            values["api_bind"] = f"127.0.0.1:{free_port()}"
        child = ChildProcess(
            kind,
            [sys.executable, *(argv or ("-m",)), *(module or _MODULES[kind])],
            folder=folder,
            env=_environment(values),
            cwd=folder,
        )
        part = Part(kind, child, redis, s3, url=f"http://{values.get('api_bind')}")
        self.parts.append(part)
        self._start(part)
        return part

    def again(self, part: Part) -> None:
        """Restart a dead process without waiting."""
        self._start(part)

    def restart_dead(self) -> int:
        """Restart all dead processes, as a process manager does; return their number."""
        dead = [part for part in self.parts if not part.child.running]
        for part in dead:
            self.again(part)
        return len(dead)

    def wait_ready(self, part: Part, timeout_s: float = _READY_S) -> None:
        part.child.wait_until(lambda: self.is_ready(part), timeout_s=timeout_s)

    def is_ready(self, part: Part) -> bool:
        if part.kind == "api":
            return _answers(f"{part.url}/readyz") and part.child.running
        return part.log().count(_READY) > part.ready_before

    def all(self, kind: str) -> list[Part]:
        return [part for part in self.parts if part.kind == kind]

    def worker_of(self, job_id: str) -> Part | None:
        """Return the worker that runs the job now, from its record."""
        name = self.redis.hget(f"fm:job:{job_id}", "worker")
        pid = int(str(name).rsplit("-", 1)[1]) if name else 0
        return next((part for part in self.all("worker") if part.pid == pid), None)

    def command(self, *words: str, timeout_s: float = 60) -> str:
        """Run ``facemend`` with these arguments; return its output. Raises StackFailed."""
        done = subprocess.run(
            [sys.executable, "-m", "worker.cli", *words],
            env=_environment(self._values(self.valkey.port, None)),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode:
            raise StackFailed(
                f"facemend {' '.join(words)}: {done.stdout[-500:]}{done.stderr[-500:]}"
            )
        return done.stdout

    def _start(self, part: Part) -> None:
        part.ready_before = part.log().count(_READY)
        part.child.start()

    def _values(self, redis_port: int | None, s3_port: int | None) -> dict[str, object]:
        made: dict[str, object] = {
            "redis_url": self.watched.url
            if self.sentinel
            else f"redis://:{self.valkey.password}@127.0.0.1:{redis_port}/0",
            "s3_endpoint_url": f"http://127.0.0.1:{s3_port or self.seaweed.ports['s3']}",
            "s3_public_endpoint_url": self.seaweed.endpoint_url,
            "s3_bucket": self.seaweed.bucket,
            "s3_access_key_id": self.seaweed.access_key_id,
            "s3_secret_access_key": self.seaweed.secret_access_key,
            "api_key_pepper": self._pepper,
            "allow_private_addresses": "all",
            "models_dir": str(self.notes),
            "default_model": MODEL,
            "rate_limit": 0,
            "log_level": "DEBUG",  # secrets must not appear even at this level
        }
        return made | dict(self.settings)

    # --- looking --------------------------------------------------------------------------------

    def job(self, job_id: str, tenant: str = TENANT) -> Job | None:
        """Return the job; None if it is erased."""
        try:
            return self.store.get(tenant, job_id)
        except NotFound:
            return None

    def runs(self) -> list[int]:
        """Return the serial number of a photo for each run that began."""
        path = self.notes / RUNS
        if not path.exists():
            return []
        return [int(line.split()[0]) for line in path.read_text().splitlines()]

    def logs(self) -> Iterator[tuple[str, str]]:
        """Yield the name and log of each process."""
        for part in self.parts:
            yield f"{part.kind} {part.child.log_path.parent.name}", part.log()

    def secrets(self, *more: str) -> list[str]:
        """Return the secrets that no log may contain."""
        return [
            self.valkey.password,
            self.valkey.admin_password,
            *([self.watched.password] if self.sentinel else []),
            self.seaweed.secret_access_key,
            self._pepper,
            *more,
        ]


@contextmanager
def stopped(part: Part) -> Iterator[None]:
    part.freeze()
    try:
        yield
    finally:
        part.thaw()


def eventually(condition: Callable[[], object], timeout_s: float, pause_s: float = 0.02) -> bool:
    """Wait until the condition holds; return False if time is up."""
    give_up = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > give_up:
            return False
        time.sleep(pause_s)
    return True


def _environment(values: Mapping[str, object]) -> dict[str, str]:
    """Return the environment of a process, without the variables of the caller."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    extra = {name: str(value) for name, value in values.items() if name.isupper()}
    ours = {
        f"FACEMEND_{name.upper()}": str(value)
        for name, value in values.items()
        if not name.isupper()
    }
    return {**kept, "PYTHONPATH": str(_ROOT), **extra, **ours}


def _answers(url: str) -> bool:
    # Called fifty times a second; reading certificates would take longer than the API's start.
    try:
        return httpx.get(url, timeout=5, trust_env=False, verify=False).status_code == 200
    except httpx.HTTPError:
        return False
