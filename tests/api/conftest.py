"""The API on real Redis and S3; every answer is held against the OpenAPI document."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any, Protocol

import pytest
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator, FormatChecker
from redis import Redis
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse
from werkzeug.wrappers import Request

from api import Services, create_app
from api.openapi import Application
from api.problems import MEDIA_TYPE
from shared.jobs.job import Job, Status
from shared.jobs.store import JobStore, Outcome
from shared.queue.celery_queue import Doorbell, make_celery
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import result_key
from shared.tenants.api_keys import ALL_SCOPES, KeyRing
from shared.tenants.rate_limit import RateLimiter
from shared.tenants.usage import UsageBook


class CheckedClient(FlaskClient):
    """Fails where an answer differs from what the document says."""

    application: Application

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        response = super().open(*args, **kwargs)
        response.get_data()
        response.close()
        response.request.environ["wsgi.input"].close()
        assert response.headers["X-Request-Id"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        self._check(response)
        return response

    def _check(self, response: TestResponse) -> None:
        operation = self._operation(response.request)
        if operation is None:
            if response.status_code >= 400:
                self._check_body(response, "#/components/schemas/Problem")
            return
        said = operation["responses"]
        assert str(response.status_code) in said, f"{response.status_code} is not in the document"
        declared = said[str(response.status_code)].get("content", {})
        if not declared:
            assert response.data == b""
        elif "schema" in declared.get(response.mimetype, {}) and "json" in response.mimetype:
            self._check_body(response, declared[response.mimetype]["schema"]["$ref"])
        else:
            assert response.mimetype in declared

    def _operation(self, request: Request) -> dict[str, Any] | None:
        urls = self.application.url_map.bind("localhost")
        try:
            rule, _ = urls.match(request.path, request.method, return_rule=True)
        except HTTPException:
            return None
        path = rule.rule.replace("<", "{").replace(">", "}")
        found: dict[str, dict[str, Any]] = self.application.api_doc["paths"].get(path, {})
        return found.get(request.method.lower())

    def _check_body(self, response: TestResponse, ref: str) -> None:
        resource = Resource(contents=self.application.api_doc, specification=DRAFT202012)
        registry: Registry[Any] = Registry().with_resource("urn:openapi", resource)
        Draft202012Validator(
            {"$ref": f"urn:openapi{ref}"}, registry=registry, format_checker=FormatChecker()
        ).validate(response.get_json(force=True))


class Authorised:
    """A client that sends one API key with each request."""

    def __init__(self, client: FlaskClient, secret: str) -> None:
        self.client = client
        self.secret = secret

    def open(self, path: str, **kwargs: Any) -> TestResponse:
        headers = Headers(kwargs.pop("headers", None))
        headers.setdefault("Authorization", f"Bearer {self.secret}")
        return self.client.open(path, headers=headers, **kwargs)

    def get(self, path: str, **kwargs: Any) -> TestResponse:
        return self.open(path, method="GET", **kwargs)

    def post(self, path: str, **kwargs: Any) -> TestResponse:
        return self.open(path, method="POST", **kwargs)


class Enrol(Protocol):
    """Makes a key for a tenant and answers with a client that sends it."""

    def __call__(self, tenant: str, scopes: frozenset[str] = ALL_SCOPES) -> Authorised: ...


@pytest.fixture
def services(settings: Settings, redis: Redis, store: JobStore, storage: ObjectStorage) -> Services:
    """As ``Services.connect`` makes them, on servers that are empty."""
    return Services(
        settings=settings,
        store=store,
        keys=KeyRing(redis, settings.api_key_pepper),
        rates=RateLimiter(settings),
        usage=UsageBook(redis),
        storage=storage,
        doorbell=Doorbell(make_celery(settings, role="api")),
    )


@pytest.fixture
def app(services: Services, caplog: pytest.LogCaptureFixture) -> Application:
    caplog.set_level(logging.DEBUG)  # what is written only in production is run here, too
    app = create_app(services)
    app.test_client_class = CheckedClient
    return app


@pytest.fixture
def anonymous(app: Application) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def enrol(services: Services, anonymous: FlaskClient) -> Enrol:
    def enrol(tenant: str, scopes: frozenset[str] = ALL_SCOPES) -> Authorised:
        _, secret = services.keys.create(tenant, f"key of {tenant}", scopes)
        return Authorised(anonymous, secret)

    return enrol


@pytest.fixture
def client(enrol: Enrol) -> Authorised:
    """Of the tenant ``acme``, who may do anything."""
    return enrol("acme")


@pytest.fixture
def photo(grace_hopper: Any) -> bytes:
    return bytes(grace_hopper.read_bytes())


@pytest.fixture
def submit(photo: bytes) -> Callable[..., TestResponse]:
    """Uploads a photo; ``request`` is the JSON part."""

    def submit(
        client: Authorised, request: dict[str, Any] | None = None, **kwargs: Any
    ) -> TestResponse:
        import io

        parts: dict[str, Any] = {"image": (io.BytesIO(photo), "photo.jpg", "image/jpeg")}
        if request is not None:
            parts["request"] = json.dumps(request)
        return client.post("/v1/restorations", data=parts, **kwargs)

    return submit


@pytest.fixture
def succeed(store: JobStore, storage: ObjectStorage) -> Callable[[str, str], Job]:
    """Does a worker's part: claims the job, stores a picture, finishes."""

    def succeed(tenant: str, job_id: str) -> Job:
        claim = store.claim(job_id, "worker-1")
        assert claim is not None
        key = result_key(tenant, job_id, claim.token, "restored.png")
        storage.put(key, b"picture", "image/png")
        image = {
            "key": key,
            "width": 4,
            "height": 3,
            "format": "png",
            "bytes": 7,
            "sha256": "0" * 64,
        }
        model = {"name": "m", "sha256": "1" * 64, "precision": "fp32", "backend": "torch"}
        face = {
            "index": 0,
            "box": [1.0, 2.0, 30.0, 40.0],
            "landmarks": [[1.0, 2.0]] * 5,
            "score": 0.99,
            "status": "restored",
            "reason": None,
            "crop": None,
        }
        result = {"image": image, "comparison": None, "faces": [face], "model": model}
        outcome = Outcome(status=Status.SUCCEEDED, result=result, timings_ms={"total": 12})
        assert store.finish(job_id, claim.token, outcome)
        return store.get(tenant, job_id)

    return succeed


@pytest.fixture
def problem() -> Callable[[TestResponse], tuple[int, str]]:
    """Status and code of an answer that must be a problem."""

    def problem(response: TestResponse) -> tuple[int, str]:
        assert response.mimetype == MEDIA_TYPE, response.data
        body = response.get_json()
        assert body["status"] == response.status_code
        assert body["type"] == f"https://facemend.dev/problems/{body['code']}"
        assert body["request_id"] == response.headers["X-Request-Id"]
        assert body["instance"] == response.request.path
        return response.status_code, body["code"]

    return problem
