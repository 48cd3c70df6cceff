"""docs/http-api.md describes the whole API and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from api.auth import SCOPES
from api.openapi import Application
from shared import errors
from shared.contract.batches import Batch, BatchCounts, BatchItem
from shared.contract.deliveries import Delivery, DeliveryAttempt, EndpointDisabled, WebhookSecret
from shared.contract.detections import DetectionResult, FacePreview, FoundFace, PhotoView
from shared.contract.restorations import (
    Face,
    ModelUsed,
    ModelView,
    Restoration,
    RestorationRequest,
    StoredImage,
)
from shared.contract.tokens import Token
from shared.contract.uploads import Upload
from shared.errors import FacemendError

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "http-api.md").read_text()
#: Raised inside processes or at the command line, never shown as a problem.
CONTROL = {errors.LeaseLost, errors.JobCanceled}


def rows(heading: str) -> list[list[str]]:
    """Cells of the first table below a heading."""
    _, _, below = TEXT.partition(f"\n{heading}\n")
    table = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)
    assert table, heading
    lines = table[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def kinds(root: type[FacemendError] = FacemendError) -> Iterator[type[FacemendError]]:
    for kind in root.__subclasses__():
        yield kind
        yield from kinds(kind)


def requests() -> set[type[FacemendError]]:
    return set(kinds(errors.RequestError))


def names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted names of the leaves."""
    for name, field in model.model_fields.items():
        arms = getattr(field.annotation, "__args__", (field.annotation,))
        kinds = [arm for arm in arms if arm is not type(None)]
        # A field that may also be a word or a list is one field.
        inner = kinds[0] if len(kinds) == 1 else None
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from names(inner, f"{prefix}{name}.")
        else:
            yield prefix + name


def test_every_route_is_documented_with_its_scope() -> None:
    said = {row[0].strip("`"): row[1].strip("`") for row in rows("## Routes")}
    true = {
        re.sub(r"<(?:path:)?(\w+)>", r"{\1}", route): scope or "\u2013"
        for route, scope in SCOPES.items()
    }
    assert said == true


def test_every_route_of_the_api_has_an_example() -> None:
    for route in SCOPES:
        method, path = route.split(" ")
        if path.startswith("/v1"):
            shown = re.sub(r"<(?:\w+_)?(\w+)_id>", lambda name: f"${name[1].upper()}", path)
            shown = shown.replace("<name>", "$QUEUE")
            assert re.search(rf"curl.*\$URL{re.escape(shown)}[\s\"?]", TEXT), route
            assert method == "GET" or "-X POST" in TEXT or "-F image" in TEXT


def test_every_code_of_a_request_is_documented_with_its_status() -> None:
    said = {row[0].strip("`"): row[1] for row in rows("### Of requests")}
    assert said.keys() == {kind.code for kind in requests()} | {"internal"}
    for kind in requests() | {errors.Internal}:
        assert str(kind.http_status) in said[kind.code]


def test_every_code_of_a_job_is_documented_with_whether_a_retry_can_help() -> None:
    said = {row[0].strip("`"): row[1] for row in rows("### Of photos and jobs")}
    roots = (errors.InputError, errors.EngineError, errors.ExecutionError)
    shown = {kind for root in roots for kind in kinds(root)}
    retryable = {kind.code for kind in shown if kind.retryable}
    assert said == {kind.code: "yes" if kind.code in retryable else "no" for kind in shown}


def test_every_error_is_documented() -> None:
    codes = {row[0].strip("`") for row in rows("### Of requests") + rows("### Of photos and jobs")}
    undocumented = {kind for kind in kinds() if kind.code not in codes}
    assert undocumented <= CONTROL


def test_every_field_of_a_request_is_documented() -> None:
    said = {row[0].strip("`") for row in rows("## The request")}
    assert said == set(names(RestorationRequest))


def test_the_documented_defaults_are_those_of_the_schema() -> None:
    defaults = RestorationRequest.model_validate({"input": {"key": "a"}}).model_dump(mode="json")
    for name, said, *_ in rows("## The request"):
        value: Any = defaults
        for part in name.strip("`").split("."):
            value = None if value is None else value[part]
        if said and not re.match("[a-z]", said):  # words describe what a value cannot say
            shown = str(value).lower() if isinstance(value, bool) else str(value)
            assert said.strip("`").strip('"') == shown, name


def test_every_field_of_a_job_is_documented() -> None:
    said = {name for row in rows("## The job") for name in re.findall(r"`(\w+)`", row[0])}
    assert said == set(Restoration.model_fields)


@pytest.mark.parametrize(
    "model",
    [
        *(StoredImage, Face, ModelUsed, ModelView),
        *(Batch, BatchCounts, BatchItem, Token, Upload),
        *(Delivery, DeliveryAttempt, EndpointDisabled, WebhookSecret),
        *(DetectionResult, PhotoView, FoundFace, FacePreview),
    ],
)
def test_the_fields_of_inner_objects_are_documented(model: type[BaseModel]) -> None:
    listed = [
        set(re.findall(r"\w+", braces)) for braces in re.findall(r"`[^`]*?\{([^{}`]+)\}", TEXT)
    ]
    assert set(model.model_fields) in listed


def test_every_header_of_the_document_is_explained(app: Application) -> None:
    said = {row[0].strip("`") for row in rows("## Headers")}
    for item in app.api_doc["paths"].values():
        for operation in item.values():
            for response in operation["responses"].values():
                assert set(response.get("headers", {})) <= said
            sent = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "header"}
            assert sent <= said


def test_every_link_inside_the_page_has_a_target() -> None:
    headings = {
        re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= headings
