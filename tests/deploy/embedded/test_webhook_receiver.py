from __future__ import annotations

import httpx

from deploy.embedded.webhook_receiver import Receiver


def test_what_is_posted_is_kept_in_order() -> None:
    with Receiver() as receiver:
        for body in (b"one", b"two"):
            answer = httpx.post(
                receiver.url, content=body, headers={"Webhook-Id": "evt"}, trust_env=False
            )
            assert answer.status_code == 204
        received = [receiver.wait(10), receiver.wait(10)]
    assert [message.body for message in received if message] == [b"one", b"two"]
    assert all(message.headers["webhook-id"] == "evt" for message in received if message)


def test_a_receiver_can_refuse() -> None:
    with Receiver(status=410) as receiver:
        assert httpx.post(receiver.url, content=b"", trust_env=False).status_code == 410


def test_nothing_came_is_none() -> None:
    with Receiver() as receiver:
        assert receiver.wait(0.01) is None
