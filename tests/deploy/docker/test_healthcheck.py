from __future__ import annotations

import socket

import pytest

from deploy.docker.healthcheck import healthy
from deploy.embedded.webhook_receiver import Receiver
from shared.jobs.store import JobStore
from shared.settings import Settings


def test_a_worker_is_well_once_it_was_heard_of(store: JobStore, settings: Settings) -> None:
    assert not healthy("worker", settings)
    store.announce(f"{socket.gethostname()}-1", [])
    assert healthy("worker", settings)


def test_a_worker_of_another_host_says_nothing_about_ours(
    store: JobStore, settings: Settings
) -> None:
    store.announce("elsewhere-1", [])
    assert not healthy("worker", settings)


@pytest.mark.parametrize("part", ["api", "notifier"])
def test_where_nobody_listens_nothing_is_well(part: str, settings: Settings) -> None:
    nobody = settings.model_copy(update={"api_bind": "127.0.0.1:1", "metrics_port": 1})
    with pytest.raises(OSError, match="refused"):
        healthy(part, nobody)


def test_an_answer_that_is_no_success_is_not_well(settings: Settings) -> None:
    with Receiver() as receiver:  # answers GET with 501
        port = receiver.url.rpartition(":")[2].partition("/")[0]
        api = settings.model_copy(update={"api_bind": f"0.0.0.0:{port}"})
        with pytest.raises(OSError, match="501"):
            healthy("api", api)
