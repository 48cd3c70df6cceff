"""The whole service as rows break it: any number of each process, each on lines of its own.

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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import httpx
from redis import Redis

from deploy.embedded.child_process import Child, free_port
from deploy.embedded.seaweedfs import SeaweedFS
from deploy.embedded.valkey import Valkey, valkey_binary
from shared.errors import NotFound, StackFailed
from shared.jobs.job import Job
from shared.jobs.store import JobStore
from shared.redis.client import connect
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from shared.tenants.api_keys import KeyRing
from tests.chaos.proxy import Proxy
from tests.chaos.restorers import MODEL, RUNS
from tests.chaos.small_disk import SmallDisk

TENANT = "acme"
_ROOT = Path(__file__).resolve().parents[2]
_MODULES = {
    "api": ["gunicorn", "--config", str(_ROOT / "deploy/docker/gunicorn.conf.py"), "api.wsgi:app"],
    "worker": ["tests.chaos.worker"],
    "real-worker": ["worker.app"],
    "notifier": ["worker.notifier"],
}
_READY = '"event": "ready'
_READY_S = 60.0


@dataclass
class Part:
    """One process with its lines to Redis and S3."""

    kind: str
    child: Child
    redis: Proxy
    s3: Proxy
    url: str = ""
    heard: int = 0  # how often its log had said that it is ready, before it was started

    @property
    def pid(self) -> int:
        return self.child.pid

    def kill(self) -> None:
        """SIGKILL: all of gunicorn, else the leader alone; what it leaves is its own business."""
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
    """

    folder: Path
    seed: int = 0
    appendfsync: Literal["everysec", "always"] = "everysec"
    small_disk: bool = False
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
        self.seaweed = SeaweedFS(self.folder / "s3").start()
        self.own = Settings(_env_file=None, **self._values(self.valkey.port, None))  # type: ignore[arg-type]
        self.redis: Redis = connect(self.own)
        self.store = JobStore(self.redis, self.own)
        self.storage = ObjectStorage(self.own)
        self.keys = KeyRing(self.redis, self.own.api_key_pepper)
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

    # --- processes ----------------------------------------------------------------------------

    def start(self, *kinds: str, **env: Any) -> list[Part]:
        """Start one process of each kind, and wait until all are ready."""
        started = [self.launch(kind, **env) for kind in kinds]
        for part in started:
            self.wait_ready(part)
        return started

    def launch(self, kind: str, *, argv: tuple[str, ...] = (), **env: object) -> Part:
        """Start one process, and do not wait. ``env`` are settings of it alone."""
        number = next(self._count)
        redis = Proxy(self.valkey.port or 0, seed=self.seed + number)
        s3 = Proxy(self.seaweed.ports["s3"], seed=self.seed - number)
        folder = self.folder / f"{kind}-{number}"
        folder.mkdir()
        values = self._values(redis.port, s3.port) | env
        if kind == "api":
            values["api_bind"] = f"127.0.0.1:{free_port()}"
        child = Child(
            kind,
            [sys.executable, *(argv or ("-m",)), *_MODULES[kind]],
            folder=folder,
            env=_environment(values),
            cwd=folder,
        )
        part = Part(kind, child, redis, s3, url=f"http://{values.get('api_bind')}")
        self.parts.append(part)
        self._start(part)
        return part

    def again(self, part: Part) -> None:
        """Start a dead process anew, in its place, and do not wait."""
        self._start(part)

    def revive(self) -> int:
        """Start again whatever has died, as those do who run the service; how many that were."""
        dead = [part for part in self.parts if not part.child.running]
        for part in dead:
            self.again(part)
        return len(dead)

    def wait_ready(self, part: Part) -> None:
        part.child.wait_until(lambda: self.is_ready(part), timeout_s=_READY_S)

    def is_ready(self, part: Part) -> bool:
        if part.kind == "api":
            return _answers(f"{part.url}/readyz")
        return part.log().count(_READY) > part.heard

    def all(self, kind: str) -> list[Part]:
        return [part for part in self.parts if part.kind == kind]

    def worker_of(self, job_id: str) -> Part | None:
        """The worker that runs the job now, by the record."""
        name = self.redis.hget(f"fm:job:{job_id}", "worker")
        pid = int(str(name).rsplit("-", 1)[1]) if name else 0
        return next((part for part in self.all("worker") if part.pid == pid), None)

    def command(self, *words: str, timeout_s: float = 60) -> str:
        """Run ``facemend`` with these words to its end; what it said. Raises StackFailed."""
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
        part.heard = part.log().count(_READY)
        part.child.start()

    def _values(self, redis_port: int | None, s3_port: int | None) -> dict[str, object]:
        made: dict[str, object] = {
            "redis_url": f"redis://:{self.valkey.password}@127.0.0.1:{redis_port}/0",
            "s3_endpoint_url": f"http://127.0.0.1:{s3_port or self.seaweed.ports['s3']}",
            "s3_public_endpoint_url": self.seaweed.endpoint_url,
            "s3_bucket": self.seaweed.bucket,
            "s3_access_key_id": self.seaweed.access_key_id,
            "s3_secret_access_key": self.seaweed.secret_access_key,
            "api_key_pepper": self._pepper,
            "allow_private_addresses": "true",
            "models_dir": str(self.notes),
            "default_model": MODEL,
            "rate_limit": 0,
            "log_level": "DEBUG",  # whatever is secret has to stay so even there
        }
        return made | dict(self.settings)

    # --- looking --------------------------------------------------------------------------------

    def job(self, job_id: str, tenant: str = TENANT) -> Job | None:
        """None: erased."""
        try:
            return self.store.get(tenant, job_id)
        except NotFound:
            return None

    def runs(self) -> list[int]:
        """Serial numbers of photos, one for each time that a run of one began."""
        path = self.notes / RUNS
        if not path.exists():
            return []
        return [int(line.split()[0]) for line in path.read_text().splitlines()]

    def logs(self) -> Iterator[tuple[str, str]]:
        """Name and text of each process' log."""
        for part in self.parts:
            yield f"{part.kind} {part.child.log_path.parent.name}", part.log()

    def secrets(self, *more: str) -> list[str]:
        """What must never be read in a log."""
        return [self.valkey.password, self.seaweed.secret_access_key, self._pepper, *more]


@contextmanager
def stopped(part: Part) -> Iterator[None]:
    part.freeze()
    try:
        yield
    finally:
        part.thaw()


def eventually(condition: Callable[[], object], timeout_s: float, pause_s: float = 0.02) -> bool:
    """Wait until it holds; False when time was up."""
    give_up = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > give_up:
            return False
        time.sleep(pause_s)
    return True


def _environment(values: Mapping[str, object]) -> dict[str, str]:
    """All that a process gets to see: nothing of the person's who runs this."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    extra = {name: str(value) for name, value in values.items() if name.isupper()}
    ours = {
        f"FACEMEND_{name.upper()}": str(value)
        for name, value in values.items()
        if not name.isupper()
    }
    return {**kept, "PYTHONPATH": str(_ROOT), **extra, **ours}


def _answers(url: str) -> bool:
    # Asked fifty times a second: reading certificates for it would cost more than the API's start.
    try:
        return httpx.get(url, timeout=5, trust_env=False, verify=False).status_code == 200
    except httpx.HTTPError:
        return False
