"""The pure part of a job: states, what may follow what, progress, ids."""

from __future__ import annotations

import time
import uuid

import pytest

from shared.jobs.job import (
    MAX_STARTS,
    RELEASE_BUDGET,
    TERMINAL_EVENT,
    TRANSIENT_BACKOFF_S,
    TRANSITIONS,
    Event,
    Progress,
    Release,
    Stage,
    Status,
    new_id,
)


def test_every_state_has_its_row_in_the_table() -> None:
    assert set(TRANSITIONS) == set(Status)


def test_only_a_retry_follows_an_end() -> None:
    terminal = {status for status in Status if status.terminal}
    assert terminal == {Status.SUCCEEDED, Status.FAILED, Status.CANCELED}
    assert {to for status in terminal for to in TRANSITIONS[status]} == {Status.QUEUED}
    assert not TRANSITIONS[Status.SUCCEEDED]


def test_every_state_can_be_reached_from_queued() -> None:
    reached, todo = set(), {Status.QUEUED}
    while todo:
        status = todo.pop()
        reached.add(status)
        todo |= TRANSITIONS[status] - reached
    assert reached == set(Status)


def test_success_only_follows_a_run() -> None:
    assert [status for status in Status if Status.SUCCEEDED in TRANSITIONS[status]] == [
        Status.RUNNING
    ]


def test_every_terminal_state_has_an_event_of_its_name() -> None:
    assert {status for status in Status if status.terminal} == set(TERMINAL_EVENT)
    assert all(event == f"restoration.{status}" for status, event in TERMINAL_EVENT.items())
    assert set(TERMINAL_EVENT.values()) == set(Event) - {Event.STARTED}


def test_every_reason_to_give_back_has_a_budget() -> None:
    assert set(RELEASE_BUDGET) == set(Release)
    assert len(TRANSIENT_BACKOFF_S) == RELEASE_BUDGET[Release.TRANSIENT]
    assert all(budget < MAX_STARTS for budget in RELEASE_BUDGET.values() if budget != 20)


def test_progress_only_grows_along_a_run() -> None:
    run = [
        Progress(Stage.FETCHING),
        Progress(Stage.DETECTING),
        *(Progress(Stage.RESTORING, done, 7) for done in range(8)),
        Progress(Stage.PASTING, 7, 7),
        Progress(Stage.PUBLISHING, 7, 7),
    ]
    percents = [progress.percent for progress in run]
    assert percents == sorted(percents)
    assert percents[0] == 0
    assert percents[-1] < 100


def test_a_background_that_is_enlarged_fills_most_of_restoring() -> None:
    run = [
        Progress(Stage.DETECTING),
        *(Progress(Stage.RESTORING, enlarged=share / 4) for share in range(5)),
        *(Progress(Stage.RESTORING, done, 3, enlarged=1.0) for done in range(4)),
        Progress(Stage.PASTING, 3, 3, enlarged=1.0),
    ]
    percents = [progress.percent for progress in run]
    assert percents == sorted(percents)
    assert percents[1:6] == [20, 33, 47, 61, 75]
    assert percents[6:] == [75, 80, 85, 90, 90]


@pytest.mark.parametrize("total", [None, 0])
def test_progress_needs_no_faces(total: int | None) -> None:
    assert Progress(Stage.RESTORING, 0, total).percent == 20


def test_ids_are_uuids_of_version_7_with_a_prefix() -> None:
    prefix, _, digits = new_id("job").partition("_")
    assert prefix == "job"
    assert len(digits) == 32
    value = uuid.UUID(digits)
    assert (value.version, value.variant) == (7, uuid.RFC_4122)


def test_ids_carry_their_time_and_never_repeat() -> None:
    before = int(time.time() * 1000)
    ids = [new_id("job") for _ in range(1000)]
    after = int(time.time() * 1000)
    assert len(set(ids)) == 1000
    assert all(before <= int(name[4:16], 16) <= after for name in ids)
