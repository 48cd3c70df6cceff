"""The OpenAPI document: what every route takes and answers, problems included.

``flask_openapi3`` collects routes and parameters; schemas, problems, scopes and headers are put in
here, because its own are too coarse (an array of pydantic errors for 422, lost keywords).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI
from pydantic.json_schema import models_json_schema

from api.auth import SCOPES
from api.jobs.submission import StrictRequest
from api.problems import MEDIA_TYPE
from shared import errors
from shared.contract import deliveries as delivery_schemas
from shared.contract import restorations as schemas
from shared.contract import usage as usage_schemas
from shared.errors import FacemendError

VERSION = "1"
#: By status, as ``flask_openapi3`` takes them.
Responses = dict[str | int | HTTPStatus, Any]
DESCRIPTION = """\
Blind face restoration as a service. A request makes a **job**; the job ends as `succeeded`,
`failed` or `canceled`. Wait for it with `?wait=`, `Prefer: wait=` or a webhook.
Unknown fields are refused. Errors are RFC 9457 problems; their codes are explained in
docs/http-api.md."""
SECURITY_SCHEMES: dict[str, Any] = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key: `Authorization: Bearer fm_live_…`",
    }
}

_REQUESTS = (
    schemas.RestorationRequest,
    schemas.RestorationParameters,
    delivery_schemas.WebhookTestRequest,
)
_RESOURCES = (
    schemas.Restoration,
    schemas.RestorationPage,
    delivery_schemas.Delivery,
    delivery_schemas.DeliveryList,
    delivery_schemas.DeliveryPage,
    delivery_schemas.WebhookSecret,
    schemas.ModelList,
    usage_schemas.Usage,
    schemas.Readiness,
    schemas.Problem,
)
_UPLOAD: dict[str, Any] = {
    "title": "RestorationUpload",
    "type": "object",
    "required": ["image"],
    "additionalProperties": False,
    "properties": {
        "image": {
            "type": "string",
            "format": "binary",
            "description": "The photo's file: JPEG, PNG, WebP, BMP, TIFF or GIF.",
        },
        "request": {"$ref": "#/components/schemas/RestorationParameters"},
    },
}
_REQUEST_ID: dict[str, Any] = {
    "X-Request-Id": {
        "description": "Names this request in our logs.",
        "schema": {"type": "string"},
    }
}
_RATE: dict[str, Any] = {
    "RateLimit": {
        "description": "Requests that are left (`r`), and seconds until all are there again (`t`).",
        "schema": {"type": "string"},
        "example": '"key";r=5999;t=1',
    },
    "RateLimit-Policy": {
        "description": "Requests of this key (`q`) in a window of so many seconds (`w`).",
        "schema": {"type": "string"},
        "example": '"key";q=6000;w=60',
    },
}
#: What any route behind a key may answer.
_ALWAYS: tuple[type[FacemendError], ...] = (
    errors.Unauthorized,
    errors.Forbidden,
    errors.RateLimited,
    errors.Internal,
    errors.Unavailable,
)
#: What the server says before a route is found: broken HTTP, too long an address or header.
_UNREADABLE = {
    "400": errors.MalformedRequest,
    "408": errors.SlowRequest,
    "414": errors.MalformedRequest,
    "431": errors.MalformedRequest,
}


def answers(
    model: type[schemas.Resource], *statuses: int, headers: Mapping[str, str] | None = None
) -> Responses:
    """OpenAPI responses for ``statuses`` that carry ``model``; ``headers`` by name."""
    described = {
        name: {"description": text, "schema": {"type": "string"}}
        for name, text in (headers or {}).items()
    }
    content = {"application/json": {"schema": _ref(model.__name__)}}
    return {
        status: {"description": _PHRASES[status], "headers": described, "content": content}
        for status in statuses
    }


def linked(responses: Responses, *operations: str) -> Responses:
    """The same ``responses``; the ``id`` in each is a ``job_id`` that ``operations`` take."""
    links = {
        name: {"operationId": name, "parameters": {"job_id": "$response.body#/id"}}
        for name in operations
    }
    return {status: response | {"links": links} for status, response in responses.items()}


def problems(*kinds: type[FacemendError]) -> Responses:
    """OpenAPI responses for errors of ours, one example a code."""
    by_status: dict[int, list[type[FacemendError]]] = {}
    for kind in kinds:
        by_status.setdefault(kind.http_status, []).append(kind)
    return {status: _problem_response(found) for status, found in by_status.items()}


class Application(OpenAPI):
    """The Flask application, with a document that tells the whole truth."""

    request_class = StrictRequest

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Flask asks each hook and view at each request; none of ours is asynchronous."""
        return func

    def generate_spec_json(self) -> None:
        """Build ``spec_json``; ``create_app`` does it once, before there are threads."""
        super().generate_spec_json()  # type: ignore[no-untyped-call]  # none published
        document: dict[str, Any] = self.spec_json
        document["components"]["schemas"] = _schemas(document["components"]["schemas"])
        for path, item in document["paths"].items():
            for method, operation in item.items():
                _complete(path, method, operation)


def info() -> Info:
    """Title and version of the document."""
    return Info(title="Facemend", version=VERSION, description=DESCRIPTION)


_PHRASES = {
    200: "As asked",
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
            "description": "Seconds to wait before the next try.",
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
    """Pydantic's own schemas in place of the collected ones, which have lost keywords."""
    _, ours = models_json_schema(
        [(model, "validation") for model in _REQUESTS]
        + [(model, "serialization") for model in _RESOURCES],
        ref_template="#/components/schemas/{model}",
    )
    wanted = {name: schema for name, schema in collected.items() if name != "ValidationErrorModel"}
    return dict(sorted({**wanted, **ours["$defs"], "RestorationUpload": _UPLOAD}.items()))


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    """Scopes, the answers that any route may give, and the request id."""
    operation["description"] = operation.get("description", "").replace("<br/>", "\n")
    scope = SCOPES[f"{method.upper()} {path.replace('{', '<').replace('}', '>')}"]
    responses = operation["responses"]
    if "application/json" in responses.get("422", {}).get("content", {}):
        del responses["422"]  # the array that flask_openapi3 adds by itself
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
