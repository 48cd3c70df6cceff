"""What a customer asks for is what the engine is told."""

from __future__ import annotations

from dataclasses import fields

import pytest

from shared.contract.restorations import Options, RestorationParameters
from worker.engine import FaceOptions
from worker.engine_process.handler import face_options
from worker.engine_process.request import Order

ENGINE = {field.name: field.default for field in fields(FaceOptions)}


@pytest.mark.parametrize("name", Options.model_fields)
def test_every_option_is_the_engines_too_with_the_same_default(name: str) -> None:
    assert ENGINE[name] == Options.model_fields[name].default


def test_options_arrive_as_they_were_sent() -> None:
    asked = RestorationParameters.model_validate(
        {"options": {"faces": [2, 0], "min_identity": 0.5, "noise_scale": 1.5, "truncation": 0.25}}
    )
    request = asked.model_dump(mode="json")
    told = face_options(Order("job_1", "m", request["options"], request["output"]))
    assert told == FaceOptions(
        faces=(2, 0), min_identity=0.5, noise_scale=1.5, truncation=0.25, crops=False
    )


def test_a_job_of_another_version_keeps_the_defaults_and_loses_what_nobody_knows() -> None:
    order = Order("job_1", "m", {"strength": 0.5, "sparkle": 9}, {"face_crops": True})
    assert face_options(order) == FaceOptions(strength=0.5, crops=True)
