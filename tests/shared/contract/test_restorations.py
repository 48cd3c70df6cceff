"""Requests are taken exactly as documented, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from shared.contract.restorations import (
    Request,
    Resource,
    RestorationParameters,
    RestorationRequest,
)
from shared.jobs.job import TERMINAL_EVENT, Event, Priority

LEAST: dict[str, Any] = {"input": {"url": "https://example.com/a.jpg"}}


def parse(**fields: Any) -> RestorationRequest:
    return RestorationRequest.model_validate_json(json.dumps(LEAST | fields))


def test_a_photo_alone_is_a_request() -> None:
    request = parse()
    assert request.options.faces == "all"
    assert (request.options.strength, request.options.seed) == (1.0, 0)
    assert (request.options.min_face_px, request.options.max_faces) == (16, 100)
    assert request.options.detection_threshold == 0.9
    assert (request.output.format, request.output.quality) == ("same", 95)
    assert request.priority is Priority.NORMAL
    assert request.model is None


def test_a_full_request_reads_as_it_was_written() -> None:
    request = parse(
        model="gpen-bfr-512",
        options={"faces": [0, 2], "strength": 0.5, "strict": True, "background": "keep"},
        output={"format": "webp", "quality": 80, "face_crops": True, "key": "out/a.webp"},
        webhook={"url": "https://example.com/hook", "events": ["restoration.failed"]},
        priority="high",
        start_before_s=60,
        metadata={"order": "7"},
    )
    assert request.options.faces == [0, 2]
    assert request.webhook is not None
    assert request.webhook.events == [Event.FAILED]
    assert request.priority is Priority.HIGH


def test_a_webhook_wants_all_events_unless_it_says() -> None:
    webhook = parse(webhook={"url": "https://example.com/hook"}).webhook
    assert webhook is not None
    assert webhook.events == list(TERMINAL_EVENT.values())


@pytest.mark.parametrize(
    ("where", "fields"),
    [
        ("colour", {"colour": "blue"}),
        ("options.colour", {"options": {"colour": "blue"}}),
        ("output.colour", {"output": {"colour": "blue"}}),
        ("webhook.colour", {"webhook": {"url": "https://example.com", "colour": "blue"}}),
        ("input.colour", {"input": {"url": "https://example.com", "colour": "blue"}}),
        ("input", {"input": {}}),
        ("input", {"input": {"url": "https://example.com", "key": "a"}}),
        ("input", {"input": None}),
        ("input.key", {"input": {"key": ""}}),
        ("input.url", {"input": {"url": "https://example.com/" + "x" * 2048}}),
        ("model", {"model": ""}),
        ("model", {"model": 7}),
        ("options.seed", {"options": {"seed": "7"}}),
        ("options.seed", {"options": {"seed": 1.5}}),
        ("options.seed", {"options": {"seed": -1}}),
        ("options.aligned", {"options": {"aligned": "true"}}),
        ("options.aligned", {"options": {"aligned": 1}}),
        ("options.strength", {"options": {"strength": 1.01}}),
        ("options.strength", {"options": {"strength": float("nan")}}),
        ("options.strength", {"options": {"strength": None}}),
        ("options.background", {"options": {"background": "x3"}}),
        ("options.faces", {"options": {"faces": []}}),
        ("options.faces", {"options": {"faces": [-1]}}),
        ("options.faces", {"options": {"faces": "some"}}),
        ("options.min_face_px", {"options": {"min_face_px": 7}}),
        ("options.max_faces", {"options": {"max_faces": 0}}),
        ("output.format", {"output": {"format": "gif"}}),
        ("output.quality", {"output": {"quality": 101}}),
        ("webhook.events", {"webhook": {"url": "https://example.com", "events": []}}),
        ("webhook.events.0", {"webhook": {"url": "https://example.com", "events": ["x"]}}),
        ("priority", {"priority": "urgent"}),
        ("start_before_s", {"start_before_s": 0}),
        ("start_before_s", {"start_before_s": 86_401}),
        ("metadata.a", {"metadata": {"a": 1}}),
        ("metadata", {"metadata": {str(number): "" for number in range(17)}}),
    ],
)
def test_what_is_wrong_is_named(where: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as error:
        parse(**fields)
    places = [".".join(map(str, item["loc"])) for item in error.value.errors()]
    assert any(place.startswith(where) for place in places), places


@pytest.mark.parametrize(("value", "fits"), [("x" * 1023, True), ("ä" * 1023, False)])
def test_metadata_is_counted_in_bytes(value: str, fits: bool) -> None:
    metadata = {"a": value, "b": value, "c": value, "d": value}
    if fits:
        assert parse(metadata=metadata).metadata == metadata
    else:
        with pytest.raises(ValidationError, match="4096 are allowed"):
            parse(metadata=metadata)


def test_a_multipart_request_has_no_input() -> None:
    RestorationParameters.model_validate_json("{}")
    with pytest.raises(ValidationError):
        RestorationParameters.model_validate_json(json.dumps(LEAST))


def test_a_parsed_request_does_not_change_and_survives_the_record() -> None:
    request = parse(metadata={"a": "b"}, priority="low")
    with pytest.raises(ValidationError):
        request.model = "other"
    again = RestorationRequest.model_validate_json(request.model_dump_json())
    assert again == request


def test_everything_we_take_or_answer_refuses_unknown_fields() -> None:
    def below(kind: type[Any]) -> list[type[Any]]:
        return [kind, *(found for child in kind.__subclasses__() for found in below(child))]

    for kind in below(Request) + below(Resource):
        assert kind.model_config["extra"] == "forbid", kind
        assert kind.model_config["frozen"], kind
