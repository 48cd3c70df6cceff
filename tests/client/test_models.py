"""The client's types are those of the contract: fields, types, which are needed, and values."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from facemend import errors as client_errors
from facemend import models, parameters
from shared import errors
from shared.contract import batches, detections, restorations, tokens, uploads
from shared.jobs.job import TERMINAL_EVENT, Event, Priority, Stage, Status

RESOURCES = [
    (models.Problem, restorations.Problem),
    (models.StoredImage, restorations.StoredImage),
    (models.FaceCrop, restorations.FaceCrop),
    (models.Face, restorations.Face),
    (models.ModelUsed, restorations.ModelUsed),
    (models.BackgroundUsed, restorations.BackgroundUsed),
    (models.StoredManifest, restorations.StoredManifest),
    (models.Result, restorations.Result),
    (models.Progress, restorations.ProgressView),
    (models.Queue, restorations.QueueView),
    (models.Restoration, restorations.Restoration),
    (models.RestorationPage, restorations.RestorationPage),
    (models.Upload, uploads.Upload),
    (models.FacePreview, detections.FacePreview),
    (models.FoundFace, detections.FoundFace),
    (models.PhotoView, detections.PhotoView),
    (models.DetectionResult, detections.DetectionResult),
    (models.Detection, detections.Detection),
    (models.BatchCounts, batches.BatchCounts),
    (models.BatchFile, batches.BatchFile),
    (models.Batch, batches.Batch),
    (models.BatchItem, batches.BatchItem),
    (models.BatchItemPage, batches.BatchItemPage),
    (models.Token, tokens.Token),
]
REQUESTS = [
    (parameters.Options, restorations.Options),
    (parameters.Output, restorations.Output),
    (parameters.Webhook, restorations.Webhook),
    (parameters.Request, restorations.RestorationParameters),
    (parameters.Item, restorations.RestorationRequest),
    (parameters.BatchWebhook, batches.BatchWebhook),
]
#: Of schemas, what the client may leave to the service: words, ranges, defaults.
LEFT_OUT = frozenset(
    {"title", "description", "default", "additionalProperties", "minimum", "maximum"}
    | {
        "pattern",
        "minProperties",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "maxProperties",
        "propertyNames",
    }
)


def shape(schema: Any, definitions: dict[str, Any]) -> Any:
    """A schema without names and words, its references replaced by what they mean."""
    if isinstance(schema, list):
        return sorted((shape(each, definitions) for each in schema), key=str)
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return shape(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    kept = {name: value for name, value in schema.items() if name not in LEFT_OUT}
    if "anyOf" in kept:
        kept["anyOf"] = known_values(kept["anyOf"])
        if len(kept["anyOf"]) == 1:
            (only,) = kept.pop("anyOf")
            return shape({**kept, **only}, definitions)
    if "properties" in kept:
        fields = {name: shape(each, definitions) for name, each in kept["properties"].items()}
        return {"type": "object", "fields": fields, "required": sorted(kept.get("required", ()))}
    return {name: shape(value, definitions) for name, value in sorted(kept.items())}


def known_values(arms: list[Any]) -> list[Any]:
    """Without the arm for the values of newer services: ``"png" | "jpeg" | any text``."""
    if any("enum" in arm and arm.get("type") == "string" for arm in arms):
        return [arm for arm in arms if arm != {"type": "string"}]
    return arms


def shape_of(kind: Any, mode: Any) -> Any:
    schema = TypeAdapter(kind).json_schema(mode=mode)
    return shape(schema, schema.get("$defs", {}))


@pytest.mark.parametrize(("ours", "contract"), RESOURCES, ids=lambda kind: kind.__name__)
def test_each_resource_has_the_fields_and_types_of_the_contract(ours: Any, contract: Any) -> None:
    mine, theirs = shape_of(ours, "validation"), shape_of(contract, "validation")
    assert mine["fields"].keys() == theirs["fields"].keys(), "change client/facemend/models.py"
    for name, field in theirs["fields"].items():
        assert mine["fields"][name] == field, f"change {name} in client/facemend/models.py"
    assert mine == theirs


@pytest.mark.parametrize(("ours", "contract"), REQUESTS, ids=lambda kind: kind.__name__)
def test_each_request_has_the_fields_and_types_of_the_contract(ours: Any, contract: Any) -> None:
    mine, theirs = shape_of(ours, "validation"), shape_of(contract, "validation")
    assert mine["fields"].keys() == theirs["fields"].keys(), "change client/facemend/parameters.py"
    for name, field in theirs["fields"].items():
        assert loosely(mine["fields"][name]) == loosely(field), f"change {name}"


def loosely(schema: Any) -> Any:
    """Which fields of a request are needed is for the service to say."""
    if isinstance(schema, dict):
        return {name: loosely(value) for name, value in schema.items() if name != "required"}
    return [loosely(each) for each in schema] if isinstance(schema, list) else schema


def test_every_resource_of_a_job_is_compared() -> None:
    compared = {contract for _, contract in RESOURCES}
    schema = TypeAdapter(restorations.RestorationPage).json_schema()
    enums = {name for name, each in schema["$defs"].items() if "enum" in each}
    names = {*schema["$defs"], "RestorationPage"} - enums
    assert names <= {kind.__name__ for kind in compared}


@pytest.mark.parametrize(
    ("ours", "enumeration"),
    [
        (models.Status, Status),
        (get_args(get_args(models.Stage)[0])[0], Stage),
        (parameters.Priority, Priority),
        (parameters.EventType, Event),
    ],
    ids=["Status", "Stage", "Priority", "Event"],
)
def test_the_values_of_each_enumeration_are_those_of_the_contract(
    ours: Any, enumeration: Any
) -> None:
    assert set(get_args(ours)) == {each.value for each in enumeration}


def test_the_ends_of_a_job_are_those_of_the_contract() -> None:
    assert {status.value for status in TERMINAL_EVENT} == models.TERMINAL


def kinds(root: type[errors.FacemendError]) -> set[type[errors.FacemendError]]:
    found = set(root.__subclasses__())
    return found.union(*(kinds(kind) for kind in found))


def test_each_problem_that_a_request_may_get_has_an_error() -> None:
    codes = {
        kind.code
        for root in (errors.RequestError, errors.InputError, errors.EngineError)
        for kind in kinds(root)
    } - {errors.OutOfMemory.code}  # a job ends with it; no request does
    known = {code for kind in client_errors.ProblemError.__subclasses__() for code in kind.codes}
    assert known == codes | {"internal"}


def test_a_newer_service_may_send_more() -> None:
    face = {
        "index": 0,
        "box": [0, 0, 1, 1],
        "landmarks": [],
        "score": 1,
        "status": "postponed",
        "reason": None,
        "sharpness": 0.3,
    }
    assert models.Face.model_validate(face).status == "postponed"
