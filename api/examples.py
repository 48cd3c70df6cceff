"""What POST /v1/restorations takes, as OpenAPI says it, with examples that work."""

from __future__ import annotations

from typing import Any

from api.jobs.photo_check import IMAGE_TYPES
from api.jobs.submission import JSON, MULTIPART

_FROM_STORAGE: dict[str, Any] = {"input": {"key": "holiday/1912.jpg"}}
_FROM_WEB: dict[str, Any] = {
    "input": {"url": "https://example.com/portrait.jpg"},
    "options": {"faces": "largest", "strength": 0.8},
    "output": {"format": "png", "comparison": True},
    "webhook": {"url": "https://example.com/hooks/facemend"},
    "metadata": {"order": "4711"},
}

REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        JSON: {
            "schema": {"$ref": "#/components/schemas/RestorationRequest"},
            "examples": {
                "object": {"summary": "A photo in the storage", "value": _FROM_STORAGE},
                "web": {"summary": "A photo on the web, with a webhook", "value": _FROM_WEB},
            },
        },
        MULTIPART: {
            "schema": {"$ref": "#/components/schemas/RestorationUpload"},
            "encoding": {
                "image": {"contentType": ", ".join(sorted(IMAGE_TYPES))},
                "request": {"contentType": JSON},
            },
        },
    },
}

TEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        JSON: {
            "schema": {"$ref": "#/components/schemas/WebhookTestRequest"},
            "example": {"url": "https://example.com/hooks/facemend"},
        }
    },
}

SUBMIT_HEADERS: list[dict[str, Any]] = [
    {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "The same key and body make one job, however often they are sent. 24 h.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    },
    {
        "name": "Prefer",
        "in": "header",
        "description": "`wait=N`: answer 200 with the finished job if it ends within N ≤ 60 s.",
        "schema": {"type": "string"},
        "example": "wait=30",
    },
]
