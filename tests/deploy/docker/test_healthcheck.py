from __future__ import annotations

import socket
import sys

import pytest

from deploy.docker.healthcheck import healthy, main
from deploy.embedded.webhook_receiver import WebhookReceiver
from shared.jobs.store import JobStore
from shared.settings import Settings


def test_a_worker_is_healthy_after_its_first_announcement(
    store: JobStore, settings: Settings
) -> None:
    assert not healthy("worker", settings)
    store.workers.announce(f"{socket.gethostname()}-1", [])
    assert healthy("worker", settings)


def test_a_worker_on_another_host_does_not_count(store: JobStore, settings: Settings) -> None:
    store.workers.announce("elsewhere-1", [])
    assert not healthy("worker", settings)


@pytest.mark.parametrize("part", ["api", "notifier"])
def test_a_process_that_does_not_listen_is_not_healthy(part: str, settings: Settings) -> None:
    closed = settings.model_copy(update={"api_bind": "127.0.0.1:1", "metrics_port": 1})
    with pytest.raises(OSError, match="refused"):
        healthy(part, closed)


def test_a_response_with_an_error_status_is_not_healthy(settings: Settings) -> None:
    with WebhookReceiver() as receiver:  # responds to GET with 501
        port = receiver.url.rpartition(":")[2].partition("/")[0]
        api = settings.model_copy(update={"api_bind": f"0.0.0.0:{port}"})
        with pytest.raises(OSError, match="501"):
            healthy("api", api)


def test_a_worker_is_alive_but_not_healthy_while_redis_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FACEMEND_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setattr(sys, "argv", ["healthcheck", "worker"])
    with pytest.raises(SystemExit, match="does not respond"):
        main()
    monkeypatch.setattr(sys, "argv", ["healthcheck", "worker", "--redis-optional"])
    main()


def test_a_worker_that_fell_silent_is_not_alive(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEMEND_REDIS_URL", settings.redis_url.get_secret_value())
    monkeypatch.setattr(sys, "argv", ["healthcheck", "worker", "--redis-optional"])
    with pytest.raises(SystemExit, match="announced"):
        main()
