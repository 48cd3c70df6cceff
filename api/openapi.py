"""The OpenAPI document: requests, responses and problems of every route.

``flask_openapi3`` collects routes and parameters. This module adds schemas, problems, scopes and
headers, since those of the library are not exact: it describes 422 as an array of pydantic errors,
and loses keywords of schemas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.auth import SCOPES
from api.jobs.photo_check import ALLOWED, IMAGE_TYPES
from api.jobs.submission import JSON, MULTIPART, StrictRequest
from api.openapi_webhooks import add_callbacks, webhooks
from api.problems import MEDIA_TYPE
from shared import errors
from shared.contract import restorations as schemas
from shared.errors import FacemendError

VERSION = "1"
#: Responses by status, as ``flask_openapi3`` accepts them.
Responses = dict[str | int | HTTPStatus, Any]
DESCRIPTION = """\
Blind face restoration as a service. A request makes a **job**; the job ends as `succeeded`,
`failed` or `canceled`. Wait for its end with `?wait=`, `Prefer: wait=` or a webhook.
Unknown fields are refused. Errors are RFC 9457 problems; docs/http-api.md explains their
codes."""
SECURITY_SCHEMES: dict[str, Any] = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key: `Authorization: Bearer fm_live_…`",
    }
}

_IMAGE: dict[str, Any] = {
    "type": "string",
    "format": "binary",
    "description": f"The file of the photo: {ALLOWED}.",
}
_UPLOADS: dict[str, Any] = {
    title: {
        "title": title,
        "type": "object",
        "required": ["image"],
        "additionalProperties": False,
        "properties": {"image": _IMAGE, **others},
    }
    for title, others in {
        "RestorationUpload": {"request": {"$ref": "#/components/schemas/RestorationParameters"}},
        "DetectionUpload": {},
    }.items()
}
_FROM_STORAGE: dict[str, Any] = {"input": {"key": "holiday/1912.jpg"}}
_UPLOADED: dict[str, Any] = {"input": {"upload_id": "upl_01933b8e6a7c7d3e8f00112233445566"}}
_FROM_WEB: dict[str, Any] = {
    "input": {"url": "https://example.com/portrait.jpg"},
    "options": {"faces": "largest", "strength": 0.8},
    "output": {"format": "png", "comparison": True},
    "webhook": {"url": "https://example.com/hooks/facemend"},
    "metadata": {"order": "4711"},
}

#: The body of POST /v1/restorations.
REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        JSON: {
            "schema": {"$ref": "#/components/schemas/RestorationRequest"},
            "examples": {
                "upload": {"summary": "A photo that was uploaded before", "value": _UPLOADED},
                "object": {"summary": "A photo in the object storage", "value": _FROM_STORAGE},
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

#: The body of POST /v1/detections.
DETECTION_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        JSON: {
            "schema": {"$ref": "#/components/schemas/DetectionRequest"},
            "example": _FROM_STORAGE,
        },
        MULTIPART: {
            "schema": {"$ref": "#/components/schemas/DetectionUpload"},
            "encoding": {"image": {"contentType": ", ".join(sorted(IMAGE_TYPES))}},
        },
    },
}

#: The body of POST /v1/webhooks/test.
TEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        JSON: {
            "schema": {"$ref": "#/components/schemas/WebhookTestRequest"},
            "example": {"url": "https://example.com/hooks/facemend"},
        }
    },
}

#: The body of POST /v1/uploads.
UPLOAD_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        JSON: {
            "schema": {"$ref": "#/components/schemas/UploadRequest"},
            "example": {"content_type": "image/jpeg", "bytes": 2_400_000},
        }
    },
}

#: The body of POST /v1/tokens.
TOKEN_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        JSON: {
            "schema": {"$ref": "#/components/schemas/TokenRequest"},
            "example": {"scopes": ["restorations:write"], "jobs": 20, "expires_in_s": 900},
        }
    },
}

#: The body of POST /v1/batches.
BATCH_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        JSON: {
            "schema": {"$ref": "#/components/schemas/BatchRequest"},
            "example": {
                "items": [
                    {"input": {"url": "https://example.com/1.jpg"}, "metadata": {"page": "1"}},
                    {"input": {"key": "album/2.jpg"}, "options": {"strength": 0.8}},
                ],
                "defaults": {"output": {"format": "png"}},
                "webhook": {"url": "https://example.com/hooks/facemend"},
            },
        }
    },
}

IDEMPOTENCY_HEADER: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Requests with the same key and body make one job or batch, for 24 h.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}
#: Request headers of POST /v1/restorations.
SUBMIT_HEADERS: list[dict[str, Any]] = [
    IDEMPOTENCY_HEADER,
    {
        "name": "Prefer",
        "in": "header",
        "description": "`wait=N`: wait up to N ≤ 60 s. If the job ends in time, the status is 200.",
        "schema": {"type": "string"},
        "example": "wait=30",
    },
]
_REQUEST_ID: dict[str, Any] = {
    "X-Request-Id": {
        "description": "The name of this request in the logs of the service.",
        "schema": {"type": "string"},
    }
}
_RATE: dict[str, Any] = {
    "RateLimit": {
        "description": "Requests that are left (`r`), and seconds until the full quota (`t`).",
        "schema": {"type": "string"},
        "example": '"key";r=5999;t=1',
    },
    "RateLimit-Policy": {
        "description": "The quota: requests of this key (`q`) in a window of `w` seconds.",
        "schema": {"type": "string"},
        "example": '"key";q=6000;w=60',
    },
}
#: Problems of every route that needs a key.
_ALWAYS: tuple[type[FacemendError], ...] = (
    errors.Unauthorized,
    errors.Forbidden,
    errors.RateLimited,
    errors.Internal,
    errors.Unavailable,
)
#: Problems that the HTTP server reports before a route is found: broken HTTP, too long a URL or
#: header.
_UNREADABLE = {
    "400": errors.MalformedRequest,
    "408": errors.SlowRequest,
    "414": errors.MalformedRequest,
    "431": errors.MalformedRequest,
}


def returns(
    model: type[schemas.Resource], *statuses: int, headers: Mapping[str, str] | None = None
) -> Responses:
    """Describe responses with the body ``model``. ``headers`` are descriptions by name."""
    described = {
        name: {"description": text, "schema": {"type": "string"}}
        for name, text in (headers or {}).items()
    }
    content = {"application/json": {"schema": _ref(model.__name__)}}
    return {
        status: {"description": _PHRASES[status], "headers": described, "content": content}
        for status in statuses
    }


def linked(responses: Responses, *operations: str, parameter: str = "job_id") -> Responses:
    """Link ``responses`` to ``operations``, which accept their ``id`` as ``parameter``."""
    links = {
        name: {"operationId": name, "parameters": {parameter: "$response.body#/id"}}
        for name in operations
    }
    return {status: response | {"links": links} for status, response in responses.items()}


def problems(*kinds: type[FacemendError]) -> Responses:
    """Describe the responses for errors of the tree, with one example for each code."""
    by_status: dict[int, list[type[FacemendError]]] = {}
    for kind in kinds:
        by_status.setdefault(kind.http_status, []).append(kind)
    return {status: _problem_response(found) for status, found in by_status.items()}


class Application(OpenAPI):
    """The Flask application with its complete OpenAPI document."""

    request_class = StrictRequest

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``func``: no hook or view is asynchronous, and Flask asks at each request."""
        return func

    def generate_spec_json(self) -> None:
        """Build ``spec_json``. ``create_app`` calls it once, before there are threads."""
        super().generate_spec_json()  # type: ignore[no-untyped-call]  # none published
        document: dict[str, Any] = self.spec_json
        document["components"]["schemas"] = _schemas(document["components"]["schemas"])
        for path, item in document["paths"].items():
            for method, operation in item.items():
                _complete(path, method, operation)
        add_callbacks(document["paths"])
        document["webhooks"] = webhooks()
        document["servers"] = servers("")


def servers(prefix: str) -> list[dict[str, str]]:
    """Return the field ``servers``: the address of the document, and ``prefix``."""
    return [{"url": prefix or "/", "description": "The service that sent this document"}]


def info() -> Info:
    """Return title, version and description of the document."""
    return Info(title="Facemend", version=VERSION, description=DESCRIPTION)


_PHRASES = {
    200: "Done",
    201: "Created",
    202: "Accepted",
    304: "Nothing has changed since that ETag",
    503: "Not ready",
}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _problem_response(kinds: Iterable[type[FacemendError]]) -> dict[str, Any]:
    kinds = list(kinds)
    headers: dict[str, Any] = {}
    if any(hasattr(kind(), "retry_after_s") for kind in kinds):
        headers["Retry-After"] = {
            "description": "Seconds to wait before the next attempt.",
            "schema": {"type": "string"},
        }
    return {
        "description": "; ".join(f"`{code}`" for code in dict.fromkeys(k.code for k in kinds)),
        "headers": headers,
        "content": {
            MEDIA_TYPE: {
                "schema": _ref("Problem"),
                "examples": {kind.code: {"value": kind().problem()} for kind in kinds},
            }
        },
    }


def _schemas(collected: Mapping[str, Any]) -> dict[str, Any]:
    """Return pydantic's own schemas instead of the collected ones, which have lost keywords."""
    _, ours = models_json_schema(
        [(model, "validation") for model in _subclasses(schemas.Request)]
        + [(model, "serialization") for model in _subclasses(schemas.Resource)]
        + [(schemas.Problem, "serialization")],
        ref_template="#/components/schemas/{model}",
    )
    wanted = {name: schema for name, schema in collected.items() if name != "ValidationErrorModel"}
    return dict(sorted({**wanted, **ours["$defs"], **_UPLOADS}.items()))


def _subclasses(base: type[BaseModel]) -> list[type[BaseModel]]:
    """Return all requests or resources of the contract, which the routes have imported."""
    return [kind for child in base.__subclasses__() for kind in (child, *_subclasses(child))]


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    """Add the scope, the responses that every route may send, and common headers."""
    operation["description"] = operation.get("description", "").replace("<br/>", "\n")
    scope = SCOPES[f"{method.upper()} {path.replace('{', '<').replace('}', '>')}"]
    responses = operation["responses"]
    if "application/json" in responses.get("422", {}).get("content", {}):
        del responses["422"]  # the array that flask_openapi3 adds
    if scope is not None:
        operation["security"] = [{"key": [scope]}]
        for status, response in problems(*_ALWAYS).items():
            responses.setdefault(str(status), response)
    for status, kind in _UNREADABLE.items():
        responses.setdefault(status, _problem_response([kind]))
    common = _REQUEST_ID if scope is None else _REQUEST_ID | _RATE
    for response in responses.values():
        response["headers"] = {**response.get("headers", {}), **common}
    operation["responses"] = dict(sorted(responses.items()))
