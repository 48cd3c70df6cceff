"""The records' form in Redis: what is written reads back, what a newer version adds is ignored."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from shared.jobs.job import Priority, Progress, Stage, Status
from shared.jobs.record import NewJob, Outcome, outcome_json, progress_json, to_job

NewJobs = Callable[..., NewJob]
SMALL = {
    "tenant": "acme",
    "status": "running",
    "model": "starter",
    "priority": "low",
    "created_at": "1795337245.417458",
    "version": "3",
}


def view(new: NewJob, outcome: str | None = None, **fields: str) -> tuple[Any, ...]:
    flat = [part for pair in (SMALL | fields).items() for part in pair]
    return flat, new.spec, outcome


def test_what_was_asked_for_reads_back(new_job: NewJobs) -> None:
    new = new_job(request={"metadata": {"ä": "\u2028"}, "options": {"faces": []}})
    job = to_job("job_1", view(new))
    assert (job.id, job.request, job.source) == ("job_1", new.request, new.source)
    assert (job.status, job.priority, job.version) == (Status.RUNNING, Priority.LOW, 3)
    assert job.created_at == 1795337245.417458


@pytest.mark.parametrize("total", [None, 3])
@pytest.mark.parametrize("enlarged", [None, 0.25])
def test_progress_reads_back(new_job: NewJobs, total: int | None, enlarged: float | None) -> None:
    progress = Progress(Stage.RESTORING, 2, total, enlarged)
    assert to_job("job_1", view(new_job(), progress=progress_json(progress))).progress == progress


def test_progress_fits_into_a_compact_field() -> None:
    longest = max(len(progress_json(Progress(stage, 500, 500))) for stage in Stage)
    assert longest <= 64  # longer values make Redis store the whole hash less compactly


def test_an_outcome_reads_back(new_job: NewJobs) -> None:
    outcome = Outcome(Status.SUCCEEDED, {"faces": []}, None, ("animated",), {"total": 5})
    job = to_job("job_1", view(new_job(), outcome_json(outcome)))
    assert (job.result, job.error) == ({"faces": []}, None)
    assert (job.warnings, job.timings_ms) == (("animated",), {"total": 5})


def test_an_empty_outcome_takes_no_room(new_job: NewJobs) -> None:
    assert outcome_json(Outcome(Status.CANCELED)) == "{}"
    job = to_job("job_1", view(new_job(), "{}"))
    assert (job.result, job.error, job.warnings, job.timings_ms) == (None, None, (), {})


def test_fields_of_a_newer_version_are_ignored(new_job: NewJobs) -> None:
    flat, spec, _ = view(new_job(), colour="blue", progress=json.dumps(
        {"stage": "pasting", "faces_done": 1, "faces_total": 1, "colour": "blue"}
    ))  # fmt: skip
    spec = json.dumps(json.loads(spec) | {"colour": "blue"})
    job = to_job("job_1", (flat, spec, '{"result":{"x":1},"colour":"blue"}'))
    assert job.progress == Progress(Stage.PASTING, 1, 1)
    assert job.result == {"x": 1}


def test_the_webhook_comes_last_where_the_scripts_see_that_there_is_none(new_job: NewJobs) -> None:
    assert new_job(webhook=None).spec.endswith('"webhook":null}')
