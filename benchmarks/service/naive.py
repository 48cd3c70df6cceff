"""The peer: a minimal hand-written service, a Flask route that calls a Celery task by ``delay()``.

It has no API keys, checks or job record; a crash may lose its message in Redis.
"""

from __future__ import annotations

import os
import uuid
from typing import Any

from celery import Celery
from flask import Flask, request

app = Flask(__name__)
celery = Celery("naive", broker=os.environ["NAIVE_REDIS_URL"])
celery.conf.task_ignore_result = True


@celery.task
def restore(job_id: str, job: dict[str, Any]) -> None:
    """Never runs: only submission is measured."""


@app.post("/v1/restorations")
def submit() -> tuple[dict[str, str], int]:
    """Accept a job."""
    job_id = uuid.uuid4().hex
    restore.delay(job_id, request.get_json())
    return {"id": job_id, "status": "queued"}, 202
