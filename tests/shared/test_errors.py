"""The tree of errors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shared import errors
from shared.contract.restorations import Problem
from shared.errors import PROBLEM_BASE, FacemendError, InvalidRequest, Unavailable

ROOT = Path(__file__).parents[2]
#: The codes of the HTTP contract, without those of jobs.
REQUEST_CODES = {
    "invalid-request", "unauthorized", "forbidden", "not-found", "method-not-allowed", "conflict",
    "idempotency-in-progress", "payload-too-large", "unsupported-media-type",
    "idempotency-mismatch", "rate-limited", "queue-full", "internal", "unavailable",
}  # fmt: skip
JOB_CODES = {
    "input-not-found", "input-forbidden", "input-too-large", "input-timeout", "unsupported-image",
    "corrupt-image", "image-too-many-pixels", "input-changed", "no-face-found",
    "identity-too-low", "model-unavailable", "out-of-memory", "worker-lost", "poisoned",
    "deadline-exceeded", "publish-failed", "internal",
}  # fmt: skip


def tree(root: type[FacemendError] = FacemendError) -> list[type[FacemendError]]:
    below = [kind for kind in root.__subclasses__() if kind.__module__ == errors.__name__]
    return [root, *(found for kind in below for found in tree(kind))]


@pytest.mark.parametrize("kind", tree())
def test_every_error_makes_a_complete_problem(kind: type[FacemendError]) -> None:
    problem = Problem.model_validate(kind("what to do").problem())
    assert problem.type == PROBLEM_BASE + kind.code
    assert problem.detail == "what to do"
    assert 400 <= problem.status < 600
    assert problem.title
    assert kind().detail  # also if none is given


def test_the_codes_are_those_of_the_contract() -> None:
    def codes(*roots: type[FacemendError]) -> set[str]:
        return {kind.code for root in roots for kind in tree(root)}

    assert codes(errors.RequestError) == REQUEST_CODES - {"internal"}
    assert (
        codes(errors.InputError, errors.EngineError)
        | {kind.code for kind in tree(errors.ExecutionError)}
        == JOB_CODES
    )


def test_the_docstring_shows_the_whole_tree() -> None:
    shown = errors.__doc__ or ""
    missing = [kind.__name__ for kind in tree() if kind.__name__ not in shown]
    assert [name for name in missing if not name.startswith("_")] == []


def test_only_a_timeout_of_the_photo_is_retryable() -> None:
    retryable = {kind.code for kind in tree(errors.InputError) if kind.retryable}
    assert retryable == {"input-timeout"}


def test_what_should_be_retried_says_when() -> None:
    later = {
        kind.code
        for kind in tree(errors.RequestError)
        if kind.retryable and not kind.__name__.startswith("_")
        if kind is not errors.SlowRequest  # it may be sent again at once
    }
    assert later == {"idempotency-in-progress", "rate-limited", "queue-full", "unavailable"}
    assert Unavailable(retry_after_s=7).retry_after_s == 7


def test_an_invalid_request_points_at_its_fields() -> None:
    problem = InvalidRequest("two fields are wrong", [("/model", "a"), ("/options", "b")]).problem()
    assert problem["errors"] == [
        {"pointer": "/model", "detail": "a"},
        {"pointer": "/options", "detail": "b"},
    ]
    assert "errors" not in InvalidRequest("no field").problem()


def test_an_error_that_leaves_its_folder_is_in_the_tree() -> None:
    sources = [path for part in ("api", "shared", "worker") for path in (ROOT / part).rglob("*.py")]
    texts = {path: path.read_text() for path in sources if path.name != "errors.py"}
    defined = {
        (path, name)
        for path, text in texts.items()
        for name in re.findall(r"^class (\w+)\(\w*(?:Exception|Error)\)", text, re.MULTILINE)
    }
    assert defined  # the pattern still finds those that stay inside
    assert {
        name
        for path, name in defined
        for other, text in texts.items()
        if other.parent != path.parent and re.search(rf"\bimport .*\b{name}\b", text)
    } == set()
