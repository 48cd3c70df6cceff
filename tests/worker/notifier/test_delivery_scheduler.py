from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from shared.webhooks.outbox import Delivery
from worker.notifier.delivery_scheduler import FULL, DeliveryScheduler


def delivery(number: int, host: str = "a.example") -> Delivery:
    return Delivery(
        id=f"dlv_{number}",
        event_id=f"evt_{number}",
        job_id=f"job_{number}",
        tenant="acme",
        url=f"https://{host}/hook?{number}",
        event="restoration.succeeded",
        attempt=1,
        created_at=0.0,
        token="token",
        lane=host,
    )


class Receivers:
    """Stands in for all receivers: those in ``stuck`` respond only when ``free`` is set."""

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


def make_quick(scheduler: DeliveryScheduler, receivers: Receivers, host: str) -> None:
    """Make an attempt, after which the host counts as quick."""
    scheduler.schedule([delivery(0, host=host)])
    receivers.wait_for(lambda: receivers.numbers(host) == [0])
    while scheduler.in_flight:
        time.sleep(0.001)


@pytest.fixture
def receivers() -> Iterator[Receivers]:
    receivers = Receivers()
    yield receivers
    receivers.free.set()


def test_each_delivery_is_sent_once_and_in_the_order_of_its_receiver(receivers: Receivers) -> None:
    scheduler = DeliveryScheduler(receivers.send, keep_s=10, threads=1)
    for number in range(50):
        scheduler.schedule([delivery(number, host=f"{number % 5}.example")])
    receivers.wait_for(lambda: len(receivers.arrived) == 50)
    scheduler.close()
    for host in range(5):
        assert receivers.numbers(f"{host}.example") == list(range(host, 50, 5))


def test_a_receiver_never_has_more_than_two_connections_and_a_new_one_has_one(
    receivers: Receivers,
) -> None:
    scheduler = DeliveryScheduler(receivers.send, keep_s=10)
    make_quick(scheduler, receivers, "known.example")
    for host in ("known.example", "new.example"):
        receivers.stuck.add(host)
        scheduler.schedule([delivery(number, host=host) for number in range(1, 21)])
    receivers.wait_for(lambda: len(receivers.arrived) == 1 + 2 + 1)
    receivers.free.set()
    receivers.wait_for(lambda: len(receivers.arrived) == 1 + 20 + 20)
    scheduler.close()
    assert receivers.most_at_once["known.example"] == 2


def test_a_stuck_receiver_delays_no_other(receivers: Receivers) -> None:
    receivers.stuck.add("stuck.example")
    scheduler = DeliveryScheduler(receivers.send, keep_s=10, threads=4)
    scheduler.schedule([delivery(number, host="stuck.example") for number in range(20)])
    scheduler.schedule([delivery(number, host="healthy.example") for number in range(20)])
    receivers.wait_for(lambda: len(receivers.numbers("healthy.example")) == 20)
    assert receivers.numbers("stuck.example") == [0]
    receivers.free.set()
    scheduler.close()


def test_slow_receivers_together_leave_half_of_the_threads_to_others(
    receivers: Receivers,
) -> None:
    scheduler = DeliveryScheduler(
        receivers.send,
        keep_s=10,
        threads=4,
        slow_s=0,  # one attempt makes it slow
    )
    slow = [f"slow{number}.example" for number in range(4)]
    for host in slow:
        scheduler.schedule([delivery(0, host=host)])
    receivers.wait_for(lambda: len(receivers.arrived) == 4)
    while scheduler.in_flight:
        time.sleep(0.001)
    receivers.stuck.update(slow)
    for host in slow:
        scheduler.schedule([delivery(1, host=host)])
    scheduler.schedule([delivery(0, host="healthy.example")])
    receivers.wait_for(lambda: receivers.numbers("healthy.example") == [0])
    assert sum(len(receivers.numbers(host)) for host in slow) == 4 + 2
    receivers.free.set()
    receivers.wait_for(lambda: sum(len(receivers.numbers(host)) for host in slow) == 4 + 4)
    scheduler.close()


def test_quick_receivers_are_served_however_many_new_ones_are_stuck(
    receivers: Receivers,
) -> None:
    scheduler = DeliveryScheduler(receivers.send, keep_s=10, threads=2)
    make_quick(scheduler, receivers, "quick.example")
    stuck = [f"stuck{number}.example" for number in range(20)]
    receivers.stuck.update(stuck)
    scheduler.schedule([delivery(0, host=host) for host in stuck])
    scheduler.schedule([delivery(number, host="quick.example") for number in range(1, 11)])
    receivers.wait_for(lambda: len(receivers.numbers("quick.example")) == 11)
    assert len(receivers.arrived) == 11 + 2
    receivers.free.set()
    scheduler.close()


def test_a_quick_receiver_that_gets_stuck_does_not_block_other_quick_ones(
    receivers: Receivers,
) -> None:
    scheduler = DeliveryScheduler(receivers.send, keep_s=10, threads=2, slow_s=0.3)
    for host in ("a.example", "b.example"):
        make_quick(scheduler, receivers, host)
    receivers.stuck.add("a.example")
    scheduler.schedule([delivery(number, host="a.example") for number in range(1, 3)])
    receivers.wait_for(lambda: len(receivers.numbers("a.example")) == 3)
    scheduler.schedule([delivery(1, host="b.example")])
    give_up = time.monotonic() + 10
    while len(receivers.numbers("b.example")) < 2:
        assert time.monotonic() < give_up
        scheduler.schedule([])
        time.sleep(0.01)
    receivers.free.set()
    scheduler.close()


def test_the_number_of_threads_is_bounded(receivers: Receivers) -> None:
    scheduler = DeliveryScheduler(receivers.send, keep_s=10, threads=2, slow_s=0.01)
    hosts = [f"quick{number}.example" for number in range(20)]
    for host in hosts:
        make_quick(scheduler, receivers, host)
    receivers.stuck.update(hosts)
    scheduler.schedule([delivery(1, host=host) for host in hosts])
    for _ in range(20):
        scheduler.schedule([])
        time.sleep(0.01)
    assert scheduler.in_flight <= 8
    receivers.free.set()
    scheduler.close()


def test_a_delivery_that_waited_too_long_is_dropped(receivers: Receivers) -> None:
    receivers.stuck.add("stuck.example")
    scheduler = DeliveryScheduler(receivers.send, keep_s=0.4)
    for number in range(5):
        scheduler.schedule([delivery(number, host="stuck.example")])
    time.sleep(0.5)
    receivers.free.set()
    while scheduler.in_flight:
        time.sleep(0.001)
    scheduler.schedule([delivery(5, host="stuck.example")])
    scheduler.close()
    assert receivers.numbers("stuck.example") == [0, 5]


def test_a_lane_with_many_waiting_deliveries_is_full(receivers: Receivers) -> None:
    receivers.stuck.add("stuck.example")
    scheduler = DeliveryScheduler(receivers.send, keep_s=10)
    scheduler.schedule([delivery(number, host="stuck.example") for number in range(FULL)])
    assert scheduler.full_lanes() == []  # one is being sent
    scheduler.schedule([delivery(FULL, host="stuck.example"), delivery(0, host="a.example")])
    assert scheduler.full_lanes() == ["stuck.example"]
    receivers.free.set()
    receivers.wait_for(lambda: len(receivers.numbers("stuck.example")) == FULL + 1)
    scheduler.close()
    assert scheduler.full_lanes() == []


def test_close_waits_for_running_attempts_and_starts_no_more(receivers: Receivers) -> None:
    receivers.stuck.add("stuck.example")
    scheduler = DeliveryScheduler(receivers.send, keep_s=10)
    for number in range(5):
        scheduler.schedule([delivery(number, host="stuck.example")])
    closing = threading.Thread(target=scheduler.close)
    closing.start()
    closing.join(0.1)
    assert closing.is_alive()
    receivers.free.set()
    closing.join(10)
    assert receivers.numbers("stuck.example") == [0]
    assert scheduler.in_flight == 0
