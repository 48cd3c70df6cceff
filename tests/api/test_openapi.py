from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from pydantic import TypeAdapter

from api.auth import SCOPES
from api.openapi import Application
from shared.contract.restorations import RestorationRequest
from shared.jobs.job import Event
from shared.storage.bucket import ObjectStorage
from shared.webhooks.signing import event_body
from tests.api.conftest import Authorised


@pytest.fixture
def document(anonymous: FlaskClient) -> dict[str, Any]:
    found: dict[str, Any] = anonymous.get("/openapi.json").get_json()
    return found


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path.replace('{', '<').replace('}', '>')}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def test_it_is_a_valid_document_of_version_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    validate(document)


def test_every_route_of_the_api_is_in_it(document: dict[str, Any]) -> None:
    pages = {
        route for route in SCOPES if route.split(" ")[1].startswith(("/admin", "/docs", "/static"))
    }
    assert operations(document).keys() == SCOPES.keys() - pages - {"GET /", "GET /openapi.json"}


def test_scopes_are_those_of_the_table(document: dict[str, Any]) -> None:
    for route, operation in operations(document).items():
        scope = SCOPES[route]
        assert operation.get("security") == (None if scope is None else [{"key": [scope]}])


def test_errors_are_problems_everywhere(document: dict[str, Any]) -> None:
    for route, operation in operations(document).items():
        for status, response in operation["responses"].items():
            if int(status) >= 400 and route != "GET /readyz":
                (media_type,) = response["content"]
                assert media_type == "application/problem+json"


def test_errors_that_precede_routing_are_documented_at_every_route(
    document: dict[str, Any],
) -> None:
    for operation in operations(document).values():
        assert {"400", "414", "431"} <= operation["responses"].keys()


def test_a_submission_may_be_json_or_multipart(document: dict[str, Any]) -> None:
    body = document["paths"]["/v1/restorations"]["post"]["requestBody"]
    assert body["required"]
    assert body["content"].keys() == {"application/json", "multipart/form-data"}


def test_the_examples_are_valid_requests(document: dict[str, Any]) -> None:
    content = document["paths"]["/v1/restorations"]["post"]["requestBody"]["content"]
    examples = content["application/json"]["examples"]
    assert examples
    for example in examples.values():
        TypeAdapter(RestorationRequest).validate_python(example["value"])


def test_schemas_keep_the_keywords_of_pydantic(app: Application) -> None:
    schemas = app.api_doc["components"]["schemas"]
    assert schemas["RestorationRequest"]["additionalProperties"] is False
    assert schemas["Input"]["maxProperties"] == 1
    names = schemas["RestorationParameters"]["properties"]["metadata"]["propertyNames"]
    assert names == {"maxLength": 64}


def test_operation_ids_are_unique(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for operation in operations(document).values()]
    assert len(names) == len(set(names))


def test_it_names_the_server_that_sent_it(document: dict[str, Any], anonymous: FlaskClient) -> None:
    assert [server["url"] for server in document["servers"]] == ["/"]
    below = anonymous.get("/openapi.json", environ_overrides={"SCRIPT_NAME": "/photos"})
    assert [server["url"] for server in below.get_json()["servers"]] == ["/photos"]


def test_it_describes_every_event_that_is_sent(document: dict[str, Any]) -> None:
    events = {*(str(event) for event in Event), "batch.completed", "webhook.test"}
    assert document["webhooks"].keys() == events
    for event, item in document["webhooks"].items():
        schema = item["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert schema["properties"]["type"]["enum"] == [event]
        sent = {parameter["name"] for parameter in item["post"]["parameters"]}
        assert sent == {"webhook-id", "webhook-timestamp", "webhook-signature"}


@pytest.mark.parametrize("path", ["/v1/restorations", "/v1/batches"])
def test_routes_that_take_a_webhook_say_what_is_sent_there(
    document: dict[str, Any], path: str
) -> None:
    (callback,) = document["paths"][path]["post"]["callbacks"].values()
    assert callback.keys() == {"{$request.body#/webhook/url}"}


def test_a_webhook_has_the_shape_that_the_document_describes(document: dict[str, Any]) -> None:
    body = json.loads(event_body("webhook.test", 0.0, {"delivery_id": "dlv_1"}))
    content = document["webhooks"]["webhook.test"]["post"]["requestBody"]["content"]
    Draft202012Validator(content["application/json"]["schema"]).validate(body)


def test_every_problem_of_an_operation_has_its_type_and_an_example(
    document: dict[str, Any],
) -> None:
    for route, operation in operations(document).items():
        for status, response in operation["responses"].items():
            for media_type, content in response.get("content", {}).items():
                if media_type != "application/problem+json":
                    continue
                assert content["examples"], route
                for code, example in content["examples"].items():
                    assert example["value"]["type"] == f"https://facemend.dev/problems/{code}"
                    assert example["value"]["status"] == int(status) or status in UNREADABLE


UNREADABLE = {"400", "408", "414", "431"}


def examples(document: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the path and the body of every example of a JSON request."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            content = operation.get("requestBody", {}).get("content", {})
            described = content.get("application/json", {})
            for example in described.get("examples", {}).values():
                assert method == "post"
                yield path, example["value"]
            if "example" in described:
                yield path, described["example"]


def test_every_example_of_a_request_is_accepted(
    document: dict[str, Any],
    client: Authorised,
    storage: ObjectStorage,
    photo: bytes,
) -> None:
    storage.put("tenants/acme/files/holiday/1912.jpg", photo, "image/jpeg")
    sent = 0
    for path, body in examples(document):
        if "upload_id" in json.dumps(body):
            made = client.post("/v1/uploads", json={"content_type": "image/jpeg", "bytes": 10**6})
            upload = made.get_json()
            storage.put(upload["fields"]["key"], photo, "image/jpeg")
            body["input"]["upload_id"] = upload["upload_id"]
        response = client.post(path, json=body)
        assert response.status_code in {200, 201, 202}, (path, response.data)
        sent += 1
    assert sent >= 7
