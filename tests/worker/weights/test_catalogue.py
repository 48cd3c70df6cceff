"""The catalogue and the names that the API knows of it."""

from __future__ import annotations

from shared.model_names import CATALOGUE_MODELS
from worker.weights.catalogue import BEST_FIRST, CATALOGUE, LICENCES


def test_the_api_knows_the_name_of_every_model_that_restores_or_colorizes() -> None:
    assert {
        name for name, entry in CATALOGUE.items() if entry.kind == "restorer"
    } == CATALOGUE_MODELS


def test_the_256_px_graph_of_facefusion_crops_faces_as_insightface_does() -> None:
    assert CATALOGUE["gpen-bfr-256-onnx"].template == "arcface"
    assert CATALOGUE["gpen-bfr-512-onnx"].template == "ffhq"
    assert CATALOGUE["gpen-bfr-256"].template == "gpen"


def test_gpen_is_for_non_commercial_use_and_every_closed_licence_is_explained() -> None:
    assert CATALOGUE["gpen-bfr-512"].licence == "gpen-non-commercial"
    closed = {entry.licence for entry in CATALOGUE.values() if not entry.licence_is_open}
    assert closed == LICENCES.keys()


def test_a_file_without_a_published_hash_is_unconfirmed() -> None:
    for entry in CATALOGUE.values():
        if entry.url and entry.kind == "restorer" and not entry.sha256:
            assert not entry.confirmed, entry.name


def test_the_best_models_are_all_those_that_restore_faces() -> None:
    restoring = {
        name
        for name, entry in CATALOGUE.items()
        if entry.kind == "restorer" and entry.task == "restore"
    }
    assert sorted(BEST_FIRST) == sorted(restoring)
    for name in restoring:
        assert CATALOGUE[name].good_at
