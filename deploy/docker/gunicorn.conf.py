"""Configuration of gunicorn for the API: one process with threads, and a drain on SIGTERM.

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
workers = 1  # metrics are counted per process; for more load, start more replicas
worker_class = (
    "api.server.Worker"  # gthread that responds with a problem to a request it cannot parse
)
threads = _settings.api_threads
# For slow uploads: a drain ends requests that wait for a job at once.
graceful_timeout = 25
timeout = 60  # of the heartbeat of the process, not of a request
keepalive = 75  # longer than that of load balancers, which must close a connection first
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
control_socket_disable = True  # it would write a file to the home directory
accesslog = None  # api.request_log writes a line for each request
errorlog = "-"
loglevel = "warning"
proc_name = "facemend-api"


def post_worker_init(worker: Any) -> None:
    """End requests that wait for a job as soon as the drain begins."""
    worker.arrival_s = _settings.upload_timeout_s
    services = worker.wsgi.extensions["facemend"]
    next_handler = signal.getsignal(signal.SIGTERM)

    def drain(number: int, frame: FrameType | None) -> None:
        services.draining.set()
        if callable(next_handler):
            next_handler(number, frame)

    signal.signal(signal.SIGTERM, drain)
