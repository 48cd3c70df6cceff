"""The whole service on one machine without Docker: Redis, S3, API, worker and notifier as children.

For ``facemend up``, the demo and the tests of the whole. All data lies in one folder; a second
stack in the same folder is refused. Ports are free ones on loopback, kept from start to start.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event
from typing import IO

from deploy.embedded.child_process import Child, free_port
from deploy.embedded.saved_state import Memory
from deploy.embedded.seaweedfs import SeaweedFS
from deploy.embedded.valkey import Valkey
from shared.errors import StackFailed, Unavailable
from shared.jobs.store import JobStore
from shared.redis.client import connect
from shared.settings import Settings, load_settings
from shared.tenants.api_keys import KeyRing

TENANT = "local"
_ROOT = Path(__file__).resolve().parents[2]
_READY_S = 180.0  # the worker loads torch and warms its model, on a machine that may be busy
_BACKOFF_S = (1.0, 2.0, 5.0, 15.0, 30.0)
_STEADY_S = 60.0  # who ran so long starts again with the shortest wait
_PARTS = {
    "api": ["gunicorn", "--config", str(_ROOT / "deploy/docker/gunicorn.conf.py"), "api.wsgi:app"],
    "worker": ["worker.app"],
    "notifier": ["worker.notifier"],
}


def default_folder() -> Path:
    """Where a person's stack keeps its data when nobody says otherwise."""
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "facemend"


class Stack:
    """Start, watch, stop. ``say`` gets one line for each thing that happens."""

    def __init__(
        self,
        folder: Path,
        *,
        say: Callable[[str], None] = lambda line: None,
        api_port: int | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """``environ``: FACEMEND_ settings for the processes, less those that the stack makes."""
        self.folder = folder.expanduser().resolve()
        self.parts: dict[str, Child] = {}
        self.memory = Memory()
        self.redis = Valkey(self.folder / "redis")
        self.s3 = SeaweedFS(self.folder / "s3")
        self._say = say
        self._api_port = api_port
        self._environ = dict(environ)
        self._lock: IO[str] | None = None
        self._failures: dict[str, int] = {}
        self._started_at: dict[str, float] = {}
        self._due: dict[str, float] = {}

    # --- what one needs to use it ---------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.memory.api_port}"

    @property
    def api_key(self) -> str:
        """A secret, valid for this stack alone."""
        return self.memory.api_key or ""

    @property
    def webhook_secret(self) -> str:
        """With which webhooks to the stack's own tenant are signed; a secret too."""
        return self._keys().webhook_secrets(TENANT)[0]

    # --- life -----------------------------------------------------------------------------

    def start(self) -> None:
        """Start everything and wait until a job can be done. Raises StackFailed."""
        self._take_folder()
        try:
            self._recall()
            self._start_all()
        except BaseException:
            self.stop()
            raise

    def watch(self, stop: Event) -> None:
        """Start again whatever dies, until ``stop`` is set (by a signal handler, perhaps)."""
        while not stop.is_set():  # stop.wait() holds a lock that a handler would wait for, for ever
            self._look()
            time.sleep(0.2)

    def check(self) -> None:
        """Raise StackFailed, with its last words, when something does not run."""
        for name, child in self._children().items():
            if not child.running:
                raise StackFailed(f"{name} ended with {child.exit_code}:\n{child.log_tail()}")

    def stop(self) -> None:
        """Drain and end everything, the servers last; nothing is left running."""
        if self._lock is None:
            return  # not started, or stopped already
        for child in self.parts.values():
            child.signal(signal.SIGTERM)
        for child in self.parts.values():
            child.stop(grace_s=35)
        self.s3.stop()
        self.redis.stop()
        self._lock.close()
        self._lock = None

    def kill(self) -> None:
        """End everything at once, from a signal handler too; ``stop`` then only collects."""
        for child in self._children().values():
            child.kill_group()

    # --- start ----------------------------------------------------------------------------

    def _take_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = (self.folder / "lock").open("a+")
        except OSError as error:
            raise StackFailed(f"{self.folder} cannot be written to: {error}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            who = self._lock.read().strip() or "another process"
            self._lock.close()
            self._lock = None
            raise StackFailed(f"a stack runs in {self.folder} already: {who}") from None

    def _recall(self) -> None:
        self.memory = memory = Memory.read(self.folder / "stack.json")
        self.redis = Valkey(
            self.folder / "redis", password=memory.redis_password, port=memory.redis_port
        )
        self.s3 = SeaweedFS(
            self.folder / "s3",
            access_key_id=memory.s3_access_key_id,
            secret_access_key=memory.s3_secret_access_key,
            ports=memory.s3_ports,
        )

    def _start_all(self) -> None:
        memory = self.memory
        self._start_server("redis")
        self._start_server("s3")
        memory.api_port = free_port(self._api_port or memory.api_port)
        if self._api_port not in {None, memory.api_port}:
            raise StackFailed(f"port {self._api_port} is taken")
        memory.redis_port, memory.s3_ports = self.redis.port, self.s3.ports
        self._remember()
        if memory.api_key is None:
            _, memory.api_key = self._keys().create(TENANT, "made by facemend up")
            self._remember()
        for name in _PARTS:
            self.start_part(name)
        self._wait_until_ready()

    def _start_server(self, name: str) -> None:
        server: Valkey | SeaweedFS = self.redis if name == "redis" else self.s3
        started = time.monotonic()
        server.start()
        self._say(f"{name} ready in {time.monotonic() - started:.1f} s")

    def start_part(self, name: str) -> None:
        """Start api, worker or notifier (again)."""
        argv = [sys.executable, "-m", *_PARTS[name]]
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        child = Child(name, argv, folder=folder, env=self.environment(), cwd=folder)
        self._started_at[name] = time.monotonic()
        child.start()
        self.parts[name] = child

    def _wait_until_ready(self) -> None:
        store = JobStore.connect(self.settings())
        waits = {"api": self._api_ready, "worker": lambda: _serves(store)}
        for name, ready in waits.items():
            self.parts[name].wait_until(ready, timeout_s=_READY_S)
            self._say(f"{name} ready in {time.monotonic() - self._started_at[name]:.1f} s")
        self.parts["notifier"].wait_until(lambda: True, timeout_s=1)

    def _api_ready(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    # --- watch ----------------------------------------------------------------------------

    def _look(self) -> None:
        for name, child in self._children().items():
            if child.running:
                continue
            if name not in self._due:
                self._mourn(name, child)
            elif time.monotonic() >= self._due[name]:
                self._revive(name)

    def _children(self) -> dict[str, Child]:
        servers = {"redis": self.redis.child, "s3": self.s3.child}
        return {name: child for name, child in servers.items() if child} | self.parts

    def _mourn(self, name: str, child: Child) -> None:
        lived_s = time.monotonic() - self._started_at.get(name, 0.0)
        failures = 0 if lived_s > _STEADY_S else self._failures.get(name, 0)
        wait_s = _BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)]
        self._failures[name] = failures + 1
        self._due[name] = time.monotonic() + wait_s
        code = child.exit_code or 0
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        self._say(f"{name} ended ({how}); starting it again in {wait_s:g} s, log: {child.log_path}")

    def _revive(self, name: str) -> None:
        del self._due[name]
        self._started_at[name] = time.monotonic()
        if name in _PARTS:
            self.start_part(name)
            return
        before = self.environment()
        self._start_server(name)
        if self.environment() != before:
            raise StackFailed(f"{name} lost its port to another program; start the stack again")

    # --- settings -------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """The environment of the processes: the person's own, and what the stack has made."""
        made = {
            "REDIS_URL": self.redis.url,
            "S3_ENDPOINT_URL": self.s3.endpoint_url,
            "S3_PUBLIC_ENDPOINT_URL": self.s3.endpoint_url,
            "S3_BUCKET": self.s3.bucket,
            "S3_ACCESS_KEY_ID": self.s3.access_key_id,
            "S3_SECRET_ACCESS_KEY": self.s3.secret_access_key,
            "API_KEY_PEPPER": self.memory.api_key_pepper,
            "API_BIND": f"127.0.0.1:{self.memory.api_port}",
            "ALLOW_PRIVATE_ADDRESSES": "true",  # webhooks to programs on this machine
        }
        path = os.pathsep.join(filter(None, [str(_ROOT), self._environ.get("PYTHONPATH")]))
        ours = {f"FACEMEND_{name}": value for name, value in made.items()}
        return {**self._environ, "PYTHONPATH": path, **ours}

    def settings(self) -> Settings:
        """The same as an object, for this process."""
        ours = {
            name.removeprefix("FACEMEND_").lower(): value
            for name, value in self.environment().items()
            if name.startswith("FACEMEND_")
        }
        known = {name: value for name, value in ours.items() if name in Settings.model_fields}
        return load_settings(_env_file=None, **known)

    def _keys(self) -> KeyRing:
        settings = self.settings()
        return KeyRing(connect(settings), settings.api_key_pepper)

    def _remember(self) -> None:
        self.memory.write(self.folder / "stack.json")
        if self._lock is not None:
            self._lock.truncate(0)
            self._lock.write(f"process {os.getpid()}, {self.url}\n")
            self._lock.flush()


def _serves(store: JobStore) -> bool:
    try:
        return bool(store.served_models())
    except Unavailable:
        return False
