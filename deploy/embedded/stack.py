"""The embedded stack: Redis, S3, API, worker and notifier as child processes, without Docker.

For ``facemend up``, the demo and the end-to-end tests. All data is in one folder; a second stack in
the same folder is refused. Ports are free ones on loopback, and stay the same at the next start.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from typing import IO

from deploy.embedded.child_process import ChildProcess, free_port, is_free
from deploy.embedded.private_folder import make_private
from deploy.embedded.saved_state import SavedState
from deploy.embedded.seaweedfs import SeaweedFS
from deploy.embedded.valkey import Valkey
from shared.errors import StackFailed, Unavailable
from shared.jobs.store import JobStore
from shared.jobs.workers import Workers
from shared.process_control import exit_in_words
from shared.settings import Settings, load_settings
from shared.tenants.api_keys import ALL_SCOPES, KeyRing

TENANT = "local"
#: Life of the token in the sign-in link, and how many photos it restores.
SIGN_IN_S, _SIGN_IN_JOBS = 86_400, 10_000
_STATE = "stack.json"
_PRIVATE = "FACEMEND_ALLOW_PRIVATE_ADDRESSES"
_SIGNING = "FACEMEND_PROVENANCE_KEY"
#: The folder of the package that is first in this module's name: child processes import from it.
_ROOT = Path(__file__).resolve().parents[__name__.count(".")]
_READY_S = 180.0  # the worker loads torch and warms its model, on a machine that may be busy
_BACKOFF_S = (1.0, 2.0, 5.0, 15.0, 30.0)
_STEADY_S = 60.0  # a process that ran so long restarts after the shortest wait
#: A process that ends so often, each time within ``_STEADY_S``, will not run without help.
_CRASH_LOOP = 3
_PROCESSES = {
    "api": ["api.__main__"],
    "worker": ["worker.app"],
    "notifier": ["worker.notifier"],
}


def default_folder() -> Path:
    """Return the default folder of the data."""
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "facemend"


def has_stack(folder: Path) -> bool:
    """Return whether a stack was started in this folder before."""
    return (folder / _STATE).exists()


def saved_provenance_key(folder: Path) -> str | None:
    """Return the key that signs the manifests of the stack in this folder; None if it has none.

    Raises StackFailed.
    """
    path = folder / _STATE
    return SavedState.read(path).provenance_key if path.exists() else None


class Stack:
    """Starts, watches and stops the processes. ``say`` gets one line for each event."""

    def __init__(
        self,
        folder: Path,
        *,
        say: Callable[[str], None] = lambda line: None,
        api_port: int | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """``environ``: the environment of the processes; the stack adds its own settings."""
        self.folder = folder.expanduser().resolve()
        self.processes: dict[str, ChildProcess] = {}
        self.state = SavedState()
        self.redis = Valkey(self.folder / "redis")
        self.s3 = SeaweedFS(self.folder / "s3")
        self._say = say
        self._api_port = api_port
        self._environ = dict(environ)
        self._lock: IO[str] | None = None
        self._failures: dict[str, int] = {}
        self._started_at: dict[str, float] = {}
        self._restart_at: dict[str, float] = {}
        self._recovering: set[str] = set()
        self._workers: Workers | None = None
        #: Port by process; empty if FACEMEND_METRICS_PORT is not set.
        self.metrics_ports: dict[str, int] = {}

    # --- how to use the service -----------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.state.api_port}"

    @property
    def api_key(self) -> str:
        """The key for this stack; a secret."""
        return self.state.api_key or ""

    @property
    def webhook_secret(self) -> str:
        """The secret that signs the webhooks of the stack's own tenant."""
        return self._keys().webhook_secrets(TENANT)[0]

    def sign_in_link(self) -> str:
        """Return the address of the page with a new token in it, so that nobody pastes a key.

        The token is in the fragment, which no request and no log contains. It ends after
        ``SIGN_IN_S``. Raises Unavailable.
        """
        keys = self._keys()
        _, token = keys.create_token(
            keys.authenticate(self.api_key), ALL_SCOPES, jobs=_SIGN_IN_JOBS, expires_in_s=SIGN_IN_S
        )
        return f"{self.url}/#token={token}"

    # --- start and stop -------------------------------------------------------------------

    def start(self) -> None:
        """Start everything and wait until a job can run. Raises StackFailed."""
        if user := self._take_folder():
            raise StackFailed(f"a stack runs in {self.folder} already: {user}")
        try:
            self._load_state()
            self._start_all()
        except BaseException:
            self.stop()
            raise

    @contextmanager
    def servers(self, *, with_s3: bool) -> Iterator[Settings]:
        """Yield the settings of the stack in this folder, for another command.

        If the stack does not run, its Redis (and its S3) run during the block. Raises StackFailed,
        also if there is no stack in the folder.
        """
        if not has_stack(self.folder):
            raise StackFailed(f"there is no stack in {self.folder}: facemend up makes one")
        user = self._take_folder()
        self._say(f"the stack in {self.folder} ({user or 'stopped'})")
        try:
            self._load_state()
            if user is None:
                self._start_server("redis")
                if with_s3:
                    self._start_server("s3")
            yield self.settings()
        finally:
            self.stop()

    def watch(self, stop: Event) -> None:
        """Restart every process that dies, until ``stop`` is set."""
        while not stop.is_set():
            self._check_processes()
            self._check_recovery()
            stop.wait(0.2)

    def check(self) -> None:
        """Raise StackFailed, with the end of its log, if a process does not run."""
        for name, child in self._children().items():
            if not child.running:
                raise StackFailed(f"{name} ended with {child.exit_code}:\n{child.log_tail()}")

    @property
    def down(self) -> list[str]:
        """Return the names of the processes that end again and again."""
        return [name for name in self._children() if self._failures.get(name, 0) >= _CRASH_LOOP]

    def stop(self) -> None:
        """Drain and end every process, the servers last."""
        if self._lock is None:
            return  # not started, or stopped already
        for child in self.processes.values():
            child.signal(signal.SIGTERM)
        for child in self.processes.values():
            child.stop(grace_s=35)
        self.s3.stop()
        self.redis.stop()
        self._lock.close()
        self._lock = None

    def kill(self) -> None:
        """Kill every process at once. Safe in a signal handler; call ``stop`` afterwards."""
        for child in self._children().values():
            child.kill_group()

    # --- start, step by step --------------------------------------------------------------

    def _take_folder(self) -> str | None:
        """Lock the folder. Returns who uses it if it is in use, else None. Raises StackFailed."""
        try:
            make_private(self.folder, sign=_STATE)
            self._lock = (self.folder / "lock").open("a+")
        except OSError as error:
            raise StackFailed(f"{self.folder} cannot be written to: {error}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            user = self._lock.read().strip() or "another process"
            self._lock.close()
            self._lock = None
            return user
        return None

    def _load_state(self) -> None:
        self.state = state = SavedState.read(self.folder / _STATE)
        self.redis = Valkey(
            self.folder / "redis",
            password=state.redis_password,
            admin_password=state.redis_admin_password,
            port=state.redis_port,
        )
        self.s3 = SeaweedFS(
            self.folder / "s3",
            access_key_id=state.s3_access_key_id,
            secret_access_key=state.s3_secret_access_key,
            ports=state.s3_ports,
        )

    def _start_all(self) -> None:
        state = self.state
        self._start_server("redis")
        self._start_server("s3")
        state.api_port = free_port(self._api_port or state.api_port)
        if self._api_port not in {None, state.api_port}:
            raise StackFailed(f"port {self._api_port} is taken")
        state.redis_port, state.s3_ports = self.redis.port, self.s3.ports
        self.metrics_ports = self._choose_metrics_ports()
        self._save_state()
        if state.api_key is None:
            _, state.api_key = self._keys().create(TENANT, "made by facemend up")
            self._save_state()
        for name in _PROCESSES:
            self.start_process(name)
        self._live_workers().forget(self._worker_name())  # a process of an earlier boot
        self._wait_until_ready()

    def _choose_metrics_ports(self) -> dict[str, int]:
        """Return a port for the worker (the given one) and for the notifier (the next free one)."""
        given = self.settings().metrics_port
        if not given:
            return {}
        if given == self.state.api_port or not is_free(given):
            raise StackFailed(f"FACEMEND_METRICS_PORT: port {given} is taken")
        for port in range(given + 1, 65_536):
            if port != self.state.api_port and is_free(port):
                return {"worker": given, "notifier": port}
        raise StackFailed(f"FACEMEND_METRICS_PORT: no port above {given} is free for the notifier")

    def _start_server(self, name: str) -> None:
        server: Valkey | SeaweedFS = self.redis if name == "redis" else self.s3
        started = time.monotonic()
        server.start()
        self._say(f"{name} ready in {time.monotonic() - started:.1f} s")

    def start_process(self, name: str) -> None:
        """Start (or restart) api, worker or notifier."""
        argv = [sys.executable, "-m", *_PROCESSES[name]]
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        env = self.environment()
        if name in self.metrics_ports:
            env["FACEMEND_METRICS_PORT"] = str(self.metrics_ports[name])
        child = ChildProcess(name, argv, folder=folder, env=env, cwd=folder)
        self._started_at[name] = time.monotonic()
        child.start()
        self.processes[name] = child

    def _wait_until_ready(self) -> None:
        for name, child in self.processes.items():
            child.wait_until(partial(self._is_ready, name), timeout_s=_READY_S)
            self._say_ready(name)
        self.check()  # one that was ready may have ended since

    def _is_ready(self, name: str) -> bool:
        """Return whether the process that runs now does its work."""
        if name == "api":
            return self._api_ready()
        if name == "worker":
            return self._worker_ready()
        return self.processes[name].running

    def _say_ready(self, name: str) -> None:
        # The notifier listens on no port, so only its end can be noticed.
        state = "started" if name == "notifier" else f"ready in {self._ran_s(name):.1f} s"
        self._say(f"{name} {state}")

    def _worker_ready(self) -> bool:
        """Return whether the worker that was just started has announced itself.

        The entry of an earlier worker stays for some seconds and says nothing about this one.
        """
        try:
            return self._worker_name() in self._live_workers().names()
        except Unavailable:
            return False

    def _worker_name(self) -> str:
        return f"{socket.gethostname()}-{self.processes['worker'].pid}"

    def _live_workers(self) -> Workers:
        self._workers = self._workers or JobStore.connect(self.settings()).workers
        return self._workers

    def _api_ready(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.url}/readyz", timeout=2) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    # --- restart --------------------------------------------------------------------------

    def _check_processes(self) -> None:
        for name, child in self._children().items():
            if child.running:
                continue
            if name not in self._restart_at:
                self._schedule_restart(name, child)
            elif time.monotonic() >= self._restart_at[name]:
                self._restart(name)

    def _children(self) -> dict[str, ChildProcess]:
        servers = {"redis": self.redis.child, "s3": self.s3.child}
        return {name: child for name, child in servers.items() if child} | self.processes

    def _schedule_restart(self, name: str, child: ChildProcess) -> None:
        failures = 0 if self._ran_s(name) > _STEADY_S else self._failures.get(name, 0)
        wait_s = _BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)]
        self._failures[name] = failures + 1
        self._restart_at[name] = time.monotonic() + wait_s
        self._recovering.discard(name)
        how = exit_in_words(child.exit_code or 0)
        self._say(f"{name} ended ({how}); starting it again in {wait_s:g} s, log: {child.log_path}")
        if name in self.down:
            self._say(f"NOT UP: {name} ended {failures + 1} times in a row: {child.log_tail(1)}")
            self._write_status()

    def _check_recovery(self) -> None:
        """Say which restarted processes work again."""
        for name in sorted(self._recovering):
            steady = name not in self.down or self._ran_s(name) > _STEADY_S
            if steady and self._is_ready(name):
                self._recovering.discard(name)
                self._say_ready(name)
                if name in self.down:
                    del self._failures[name]
                    self._write_status()
                    self._say(f"still not up: {', '.join(self.down)}" if self.down else "up again")

    def _ran_s(self, name: str) -> float:
        return time.monotonic() - self._started_at.get(name, 0.0)

    def _restart(self, name: str) -> None:
        del self._restart_at[name]
        self._started_at[name] = time.monotonic()
        if name in _PROCESSES:
            self.start_process(name)
            self._recovering.add(name)
            return
        before = self.environment()
        self._start_server(name)
        if self.environment() != before:
            raise StackFailed(f"{name} lost its port to another program; start the stack again")

    # --- settings -------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """Return the environment of the processes: the caller's, and the stack's own settings."""
        made = {
            "REDIS_URL": self.redis.url,
            "S3_ENDPOINT_URL": self.s3.endpoint_url,
            "S3_PUBLIC_ENDPOINT_URL": self.s3.endpoint_url,
            "S3_BUCKET": self.s3.bucket,
            "S3_ACCESS_KEY_ID": self.s3.access_key_id,
            "S3_SECRET_ACCESS_KEY": self.s3.secret_access_key,
            "API_KEY_PEPPER": self.state.api_key_pepper,
            "API_BIND": f"127.0.0.1:{self.state.api_port}",
            "METRICS_BIND": "127.0.0.1",
            "PROVENANCE_KEY": self._environ.get(_SIGNING) or self.state.provenance_key,
            # Webhooks to programs on this machine, but not to the servers of the stack: their ports
            # are above 10,000.
            "ALLOW_PRIVATE_ADDRESSES": self._environ.get(_PRIVATE, "loopback"),
        }
        path = os.pathsep.join(filter(None, [str(_ROOT), self._environ.get("PYTHONPATH")]))
        ours = {f"FACEMEND_{name}": value for name, value in made.items()}
        return {**self._environ, "PYTHONPATH": path, **ours}

    def settings(self) -> Settings:
        """Return the same settings as an object, for this process."""
        ours = {
            name.removeprefix("FACEMEND_").lower(): value
            for name, value in self.environment().items()
            if name.startswith("FACEMEND_")
        }
        known = {name: value for name, value in ours.items() if name in Settings.model_fields}
        return load_settings(_env_file=None, **known)

    def _keys(self) -> KeyRing:
        settings = self.settings()
        return KeyRing.connect(settings)

    def _save_state(self) -> None:
        self.state.write(self.folder / _STATE)
        self._write_status()

    def _write_status(self) -> None:
        """Write who holds the folder, for other commands: they read the lock file."""
        if self._lock is not None:
            failing = f", not up: {', '.join(self.down)}" if self.down else ""
            self._lock.truncate(0)
            self._lock.write(f"process {os.getpid()}, {self.url}{failing}\n")
            self._lock.flush()
