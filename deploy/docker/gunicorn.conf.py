"""How gunicorn serves the API: one process, threads, a drain on SIGTERM. More load: more replicas.

``gunicorn -c deploy/docker/gunicorn.conf.py api.wsgi:app``
"""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Any

from shared.settings import load_settings

_settings = load_settings()

bind = _settings.api_bind
workers = 1  # metrics are counted in the process
worker_class = "api.server.Worker"  # gthread, with problems for what cannot be parsed
threads = _settings.api_threads
# Requests that wait for a job end at once when draining, so this is for slow uploads.
graceful_timeout = 25
timeout = 60  # of the process' own heartbeat, not of a request
keepalive = 75  # longer than load balancers keep theirs, so that they are never cut off first
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
control_socket_disable = True  # a file in the home directory that nobody asked for
accesslog = None  # api.request_log writes one line a request
errorlog = "-"
loglevel = "warning"
proc_name = "facemend-api"


def post_worker_init(worker: Any) -> None:
    """Let requests that wait for a job know when the drain begins."""
    worker.arrival_s = _settings.upload_timeout_s
    services = worker.wsgi.extensions["facemend"]
    go_on = signal.getsignal(signal.SIGTERM)

    def drain(number: int, frame: FrameType | None) -> None:
        services.draining.set()
        if callable(go_on):
            go_on(number, frame)

    signal.signal(signal.SIGTERM, drain)
