from __future__ import annotations

import httpx
import pytest

from deploy.embedded.webhook_receiver import WebhookReceiver
from shared.errors import StackFailed


def test_messages_are_kept_in_order() -> None:
    with WebhookReceiver() as receiver:
        for body in (b"one", b"two"):
            answer = httpx.post(
                receiver.url, content=body, headers={"Webhook-Id": "evt"}, trust_env=False
            )
            assert answer.status_code == 204
        received = [receiver.wait(10), receiver.wait(10)]
    assert [message.body for message in received if message] == [b"one", b"two"]
    assert all(message.headers["webhook-id"] == "evt" for message in received if message)


def test_a_receiver_can_refuse() -> None:
    with WebhookReceiver(status=410) as receiver:
        assert httpx.post(receiver.url, content=b"", trust_env=False).status_code == 410


def test_a_receiver_listens_on_the_first_free_one_of_its_ports() -> None:
    with WebhookReceiver() as first:
        taken = int(first.url.split(":")[2].partition("/")[0])
        with pytest.raises(StackFailed, match="no port is free"):
            WebhookReceiver(ports=[taken])
        with WebhookReceiver(ports=[taken, 0]) as second:
            assert second.url != first.url


def test_without_a_message_wait_returns_none() -> None:
    with WebhookReceiver() as receiver:
        assert receiver.wait(0.01) is None
