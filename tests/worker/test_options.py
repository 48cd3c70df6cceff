"""The engine gets the options that the customer asks for."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest

from shared.contract.restorations import Options, RestorationParameters
from worker.engine import FaceOptions
from worker.engine_process.protocol import RestoreRequest
from worker.engine_process.request_handler import face_options

ENGINE = {field.name: field.default for field in fields(FaceOptions)}


@pytest.mark.parametrize("name", Options.model_fields)
def test_every_option_is_the_engines_too_with_the_same_default(name: str) -> None:
    assert ENGINE[name] == Options.model_fields[name].default


def test_options_arrive_as_they_were_sent() -> None:
    asked = RestorationParameters.model_validate(
        {"options": {"faces": [2, 0], "min_identity": 0.5, "noise_scale": 1.5, "truncation": 0.25}}
    )
    request = asked.model_dump(mode="json")
    reported = face_options(RestoreRequest("job_1", "m", request["options"], request["output"]))
    assert reported == FaceOptions(
        faces=(2, 0), min_identity=0.5, noise_scale=1.5, truncation=0.25, crops=False
    )


def test_missing_options_get_defaults_and_unknown_ones_are_ignored() -> None:
    order = RestoreRequest("job_1", "m", {"strength": 0.5, "sparkle": 9}, {"face_crops": True})
    assert face_options(order) == FaceOptions(strength=0.5, crops=True)


DOCS = (Path(__file__).resolve().parents[2] / "docs" / "http-api.md").read_text()
ROWS = dict(re.findall(r"^\| `options\.(\w+)` (\|.*)$", DOCS, re.MULTILINE))


def test_the_table_in_the_docs_has_each_declared_option_and_no_other() -> None:
    assert set(ROWS) == set(Options.model_fields)


@pytest.mark.parametrize("name", Options.model_fields)
def test_the_table_in_the_docs_has_the_declared_default_and_range(name: str) -> None:
    field, row = Options.model_fields[name], ROWS[name]
    default = row.split("|")[1].strip().strip("`")
    assert default == ("" if field.default is None else json.dumps(field.default))
    if get_origin(field.annotation) is Literal:
        assert all(choice in row for choice in get_args(field.annotation))
    bounds = [
        each
        for rule in field.metadata
        for each in (getattr(rule, "ge", None), getattr(rule, "le", None))
    ]
    for bound in [each for each in bounds if each is not None and name != "seed"]:
        assert re.search(rf"\b{bound}\b", row), bound
