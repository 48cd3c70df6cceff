"""What GET /v1/usage answers."""

from __future__ import annotations

from typing import Literal

from shared.contract.restorations import Resource


class JobCounts(Resource):
    """Jobs of one API key. ``created`` counts each once, however often it was run again."""

    created: int
    succeeded: int
    failed: int
    canceled: int


class RequestLimit(Resource):
    """``quota`` requests in ``window_s`` seconds; ``remaining`` now. Null: there is no limit."""

    quota: int | None
    window_s: int
    remaining: int | None


class QueueLimit(Resource):
    """How many jobs of the tenant may wait, and how many do."""

    quota: int
    queued: int


class InputLimit(Resource):
    """The largest photo that is taken."""

    bytes: int
    pixels: int
    side_px: int


class Limits(Resource):
    requests: RequestLimit
    queue: QueueLimit
    input: InputLimit


class Usage(Resource):
    """What one API key has used, and what it may."""

    object: Literal["usage"] = "usage"
    tenant: str
    key_id: str
    jobs: JobCounts
    faces_restored: int
    input_bytes: int
    limits: Limits
