"""The content of a job: what decides its result, and what does not."""

from __future__ import annotations

import dataclasses
from dataclasses import fields
from typing import Any

import pytest

from shared.contract.restorations import Output, RestorationParameters
from shared.jobs.workers import ServedModel
from shared.restore_options import RestoreOptions
from worker.jobs import content as module
from worker.jobs.content import DECIDING_OPTIONS, DECIDING_OUTPUT, OTHER_OUTPUT, content_of

MODEL = ServedModel("gpen", "a" * 64, 512, "own", "fp32", "torch", None)
PHOTO = "b" * 64
#: For each option and each field of ``output`` that decides the result, a value that is no default.
OTHER_OPTIONS: dict[str, Any] = {
    "faces": "largest",
    "aligned": True,
    "min_face_px": 32,
    "max_faces": 3,
    "detection_threshold": 0.5,
    "strength": 0.5,
    "min_identity": 0.4,
    "noise_scale": 0.5,
    "truncation": 0.5,
    "skip_sharp": False,
    "keep_colour": True,
    "post_filter": True,
    "resampling": "linear",
    "seed": 7,
    "background": "x2",
    "strict": True,
}
OTHER_OUTPUTS: dict[str, Any] = {
    "format": "png",
    "quality": 50,
    "face_crops": True,
    "comparison": True,
}


def request(**parameters: Any) -> dict[str, Any]:
    return RestorationParameters(**parameters).model_dump(mode="json")


SAME = content_of(request(), PHOTO, MODEL)


def test_somebody_has_decided_about_each_option() -> None:
    """A new option either decides the result or must be left out on purpose."""
    assert {each.name for each in fields(RestoreOptions)} == DECIDING_OPTIONS
    assert set(Output.model_fields) == DECIDING_OUTPUT | OTHER_OUTPUT
    assert set(OTHER_OPTIONS) == DECIDING_OPTIONS
    assert set(OTHER_OUTPUTS) == DECIDING_OUTPUT


def test_somebody_has_decided_about_each_part_of_a_request() -> None:
    decide = {"model", "options", "output"}
    others = {"webhook", "priority", "start_before_s", "metadata"}
    assert set(RestorationParameters.model_fields) == decide | others


@pytest.mark.parametrize("name", sorted(OTHER_OPTIONS))
def test_another_option_is_another_content(name: str) -> None:
    assert content_of(request(options={name: OTHER_OPTIONS[name]}), PHOTO, MODEL) != SAME


@pytest.mark.parametrize("name", sorted(OTHER_OUTPUTS))
def test_another_output_is_another_content(name: str) -> None:
    assert content_of(request(output={name: OTHER_OUTPUTS[name]}), PHOTO, MODEL) != SAME


@pytest.mark.parametrize(
    "changed",
    [{"name": "other"}, {"sha256": "c" * 64}, {"precision": "bf16"}, {"backend": "onnxruntime"}],
    ids=lambda changed: next(iter(changed)),
)
def test_another_model_or_arithmetic_is_another_content(changed: dict[str, Any]) -> None:
    assert content_of(request(), PHOTO, dataclasses.replace(MODEL, **changed)) != SAME


def test_another_photo_is_another_content() -> None:
    assert content_of(request(), "c" * 64, MODEL) != SAME


def test_other_faces_of_a_detection_are_another_content() -> None:
    found = [{"box": [1, 2, 3, 4]}], [{"box": [1, 2, 3, 5]}]
    contents = {
        content_of(request() | {"detected": {"sha256": PHOTO, "faces": faces}}, PHOTO, MODEL)
        for faces in found
    }
    assert len(contents | {SAME}) == 3


def test_another_version_of_this_program_is_another_content(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "program_version", lambda: "0.0.0")
    assert content_of(request(), PHOTO, MODEL) != SAME


def test_where_the_result_goes_and_who_hears_of_it_are_not_content() -> None:
    other = request(
        output={"key": "out/a.png", "store": {"url": "https://example.com/put"}},
        webhook={"url": "https://example.com/hook"},
        priority="high",
        start_before_s=60,
        metadata={"album": "1"},
    )
    assert content_of(other, PHOTO, MODEL) == SAME


def test_a_default_is_the_same_as_its_value() -> None:
    assert content_of({"options": {}, "output": {}}, PHOTO, MODEL) == SAME


@pytest.mark.parametrize("where", ["options", "output"])
def test_a_request_of_a_newer_version_has_no_content(where: str) -> None:
    newer = request()
    newer[where]["sparkle"] = True
    assert content_of(newer, PHOTO, MODEL) is None
