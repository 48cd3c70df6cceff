from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from shared.store import Delivery
from worker import sender
from worker.sender import Sender, endpoint


def delivery(number: int, host: str = "a.example", tenant: str = "acme") -> Delivery:
    return Delivery(
        id=f"dlv_{number}",
        event_id=f"evt_{number}",
        job_id=f"job_{number}",
        tenant=tenant,
        url=f"https://{host}/hook?{number}",
        event="restoration.succeeded",
        attempt=1,
        created_at=0.0,
        token="token",
    )


class Receivers:
    """Stands in for all receivers: those in ``stuck`` answer only when ``free`` is set."""

    def __init__(self) -> None:
        self.stuck: set[str] = set()
        self.free = threading.Event()
        self.arrived: list[Delivery] = []
        self.most_at_once: Counter[str] = Counter()
        self._at_once: Counter[str] = Counter()
        self._changed = threading.Condition()

    def send(self, sent: Delivery) -> None:
        host = sent.url.split("/")[2]
        with self._changed:
            self.arrived.append(sent)
            self._at_once[host] += 1
            self.most_at_once[host] = max(self.most_at_once[host], self._at_once[host])
            self._changed.notify_all()
        if host in self.stuck:
            self.free.wait(10)
        with self._changed:
            self._at_once[host] -= 1

    def numbers(self, host: str) -> list[int]:
        return [int(sent.id[4:]) for sent in self.arrived if f"/{host}/" in sent.url]

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, 10)


@pytest.fixture
def receivers() -> Iterator[Receivers]:
    receivers = Receivers()
    yield receivers
    receivers.free.set()


def test_an_endpoint_is_a_tenants_host_and_port() -> None:
    assert endpoint(delivery(1)) == endpoint(delivery(2))
    assert endpoint(delivery(1)) != endpoint(delivery(1, tenant="other"))
    assert endpoint(delivery(1)) != endpoint(delivery(1, host="a.example:8443"))


def test_everything_offered_is_sent_once_and_in_order_of_its_endpoint(receivers: Receivers) -> None:
    courier = Sender(receivers.send, keep_s=10, threads=1)
    for number in range(50):
        courier.offer(delivery(number, host=f"{number % 5}.example"))
    receivers.wait_for(lambda: len(receivers.arrived) == 50)
    courier.close()
    for host in range(5):
        assert receivers.numbers(f"{host}.example") == list(range(host, 50, 5))


def test_an_endpoint_never_has_more_than_two_connections(receivers: Receivers) -> None:
    receivers.stuck.add("slow.example")
    courier = Sender(receivers.send, keep_s=10)
    for number in range(20):
        courier.offer(delivery(number, host="slow.example"))
    receivers.wait_for(lambda: len(receivers.arrived) == 2)
    receivers.free.set()
    receivers.wait_for(lambda: len(receivers.arrived) == 20)
    courier.close()
    assert receivers.most_at_once["slow.example"] == 2


def test_a_stuck_receiver_holds_up_nobody_else(receivers: Receivers) -> None:
    receivers.stuck.add("stuck.example")
    courier = Sender(receivers.send, keep_s=10, threads=4)
    for number in range(20):
        courier.offer(delivery(number, host="stuck.example"))
    for number in range(20):
        courier.offer(delivery(number, host="healthy.example"))
    receivers.wait_for(lambda: len(receivers.numbers("healthy.example")) == 20)
    assert receivers.numbers("stuck.example") == [0, 1]
    receivers.free.set()
    courier.close()


def test_slow_endpoints_together_leave_half_of_the_threads_to_others(
    receivers: Receivers,
) -> None:
    courier = Sender(receivers.send, keep_s=10, threads=4, slow_s=0)  # one try makes it slow
    slow = [f"slow{number}.example" for number in range(4)]
    for host in slow:
        courier.offer(delivery(0, host=host))
    receivers.wait_for(lambda: len(receivers.arrived) == 4)
    while courier.in_flight:
        time.sleep(0.001)
    receivers.stuck.update(slow)
    for host in slow:
        courier.offer(delivery(1, host=host))
    courier.offer(delivery(0, host="healthy.example"))
    receivers.wait_for(lambda: receivers.numbers("healthy.example") == [0])
    assert sum(len(receivers.numbers(host)) for host in slow) == 4 + 2
    receivers.free.set()
    receivers.wait_for(lambda: sum(len(receivers.numbers(host)) for host in slow) == 4 + 4)
    courier.close()


def test_what_waited_too_long_is_dropped_for_another_may_have_it(receivers: Receivers) -> None:
    receivers.stuck.add("stuck.example")
    courier = Sender(receivers.send, keep_s=0.4)
    for number in range(5):
        courier.offer(delivery(number, host="stuck.example"))
    time.sleep(0.5)
    receivers.free.set()
    while courier.in_flight:
        time.sleep(0.001)
    courier.offer(delivery(5, host="stuck.example"))
    courier.close()
    assert receivers.numbers("stuck.example") == [0, 1, 5]


def test_what_waits_for_one_endpoint_is_bounded(receivers: Receivers) -> None:
    receivers.stuck.add("stuck.example")
    courier = Sender(receivers.send, keep_s=10)
    for number in range(sender.MAX_WAITING_PER_ENDPOINT + 50):
        courier.offer(delivery(number, host="stuck.example"))
    receivers.free.set()
    receivers.wait_for(lambda: len(receivers.arrived) == sender.MAX_WAITING_PER_ENDPOINT + 2)
    courier.close()
    assert len(receivers.arrived) == sender.MAX_WAITING_PER_ENDPOINT + 2


def test_closing_waits_for_what_is_in_flight_and_starts_nothing_more(receivers: Receivers) -> None:
    receivers.stuck.add("stuck.example")
    courier = Sender(receivers.send, keep_s=10)
    for number in range(5):
        courier.offer(delivery(number, host="stuck.example"))
    closing = threading.Thread(target=courier.close)
    closing.start()
    closing.join(0.1)
    assert closing.is_alive()
    receivers.free.set()
    closing.join(10)
    assert receivers.numbers("stuck.example") == [0, 1]
    assert courier.in_flight == 0
