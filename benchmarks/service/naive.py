"""The peer: the least that a hand-written service does. Flask, and a Celery task by ``delay``.

No keys, no checks, no record, no promise: a message in Redis that a crash may lose.
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
    """Nobody runs it here: submitting is what is measured."""


@app.post("/v1/restorations")
def submit() -> tuple[dict[str, str], int]:
    """Take a job."""
    job_id = uuid.uuid4().hex
    restore.delay(job_id, request.get_json())
    return {"id": job_id, "status": "queued"}, 202
