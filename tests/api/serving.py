"""The API as a process: gunicorn with its own configuration, on a free port of loopback."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.embedded.child_process import free_port

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def say(self, data: bytes) -> tuple[int, str, dict[str, Any]]:
        """Status, content type and JSON of the answer to raw bytes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as client:
            client.sendall(data)
            answer = http.client.HTTPResponse(client)
            answer.begin()
            return answer.status, answer.headers["Content-Type"], json.load(answer)


@contextmanager
def serve(settings: Mapping[str, object], log: Path) -> Iterator[Server]:
    """A server that takes connections; killed at the end, if it still runs."""
    port = free_port()
    environ = {f"FACEMEND_{name.upper()}": str(value) for name, value in settings.items()}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "gunicorn",
                "-c",
                "deploy/docker/gunicorn.conf.py",
                "api.wsgi:app",
            ],
            cwd=ROOT,
            env={**os.environ, **environ, "FACEMEND_API_BIND": f"127.0.0.1:{port}"},
            stdout=file,
            stderr=file,
        )
    try:
        _wait(process, port, log)
        yield Server(process, port, log)
    finally:
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    while process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(log.read_text())
