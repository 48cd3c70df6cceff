"""Paused queues, and what runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.jobs.job import Priority, Progress, Stage
from shared.jobs.queues import QueueName
from shared.jobs.record import NewJob
from shared.jobs.store import JobStore
from tests.shared.conftest import claimed

NewJobs = Callable[..., NewJob]


@pytest.mark.parametrize(
    ("text", "queue"),
    [
        ("gpen-bfr-512.high", QueueName("gpen-bfr-512", Priority.HIGH)),
        ("a.b.low", QueueName("a.b", Priority.LOW)),
        ("gpen-bfr-512", None),
        ("gpen-bfr-512.urgent", None),
        (".high", None),
        ("", None),
    ],
)
def test_a_queue_is_named_by_model_and_priority(text: str, queue: QueueName | None) -> None:
    assert QueueName.parse(text) == queue
    if queue is not None:
        assert str(queue) == text
        assert QueueName.of_key(queue.key) == queue


def test_jobs_of_a_paused_queue_wait_until_it_is_resumed(store: JobStore, new_job: NewJobs) -> None:
    new = new_job()
    queue = QueueName(new.model, new.priority)
    store.queues.pause(queue)
    assert store.queues.paused() == {queue}
    store.create(new)
    assert store.runs.claim(new.id, "w") is None
    assert store.runs.due() == []
    store.queues.resume(queue)
    assert store.queues.paused() == set()
    claim = store.runs.claim(new.id, "w")
    assert claim is not None
    assert claim.job.id == new.id


def test_another_queue_goes_on(store: JobStore, new_job: NewJobs) -> None:
    new = new_job()
    store.queues.pause(QueueName(new.model, Priority.LOW))
    store.queues.pause(QueueName("other", new.priority))
    store.create(new)
    assert store.runs.claim(new.id, "w") is not None


def test_a_paused_job_is_still_cancelled_and_says_why_its_start_is_unknown(
    store: JobStore, new_job: NewJobs
) -> None:
    new = new_job()
    store.queues.pause(QueueName(new.model, new.priority))
    store.create(new)
    assert store.get(new.tenant, new.id).queue_eta_reason == "paused"
    assert store.cancel(new.tenant, new.id).status.terminal


def test_a_job_that_runs_is_not_paused(store: JobStore, new_job: NewJobs) -> None:
    new = new_job()
    claim = claimed(store, new)
    store.queues.pause(QueueName(new.model, new.priority))
    progress = Progress(Stage.RESTORING, 1, 3)
    store.runs.progress(new.id, claim.token, progress)
    (running,) = store.queues.running()
    assert (running.id, running.tenant, running.progress) == (new.id, new.tenant, progress)
    assert running.queue == QueueName(new.model, new.priority)
    assert running.started_at == store.get(new.tenant, new.id).started_at


def test_nothing_runs_in_the_beginning(store: JobStore) -> None:
    assert store.queues.running() == []
