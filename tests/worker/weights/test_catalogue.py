"""The catalogue and the names that the API knows of it."""

from __future__ import annotations

from shared.model_names import CATALOGUE_MODELS
from worker.weights.catalogue import CATALOGUE


def test_the_api_knows_the_name_of_every_model_that_restores_or_colorizes() -> None:
    assert {
        name for name, entry in CATALOGUE.items() if entry.kind == "restorer"
    } == CATALOGUE_MODELS
