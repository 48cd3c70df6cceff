from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from openapi_spec_validator import validate
from pydantic import TypeAdapter

from api.auth import SCOPES
from api.openapi import Application
from shared.contract.restorations import RestorationRequest


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
