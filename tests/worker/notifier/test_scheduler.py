from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from shared.jobs.store import Delivery
from worker.notifier import scheduler as sender
from worker.notifier.scheduler import Sender


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


def known(courier: Sender, receivers: Receivers, host: str) -> None:
    """Let a host show that it is quick."""
    courier.offer([delivery(0, host=host)])
    receivers.wait_for(lambda: receivers.numbers(host) == [0])
    while courier.in_flight:
        time.sleep(0.001)


@pytest.fixture
def receivers() -> Iterator[Receivers]:
    receivers = Receivers()
    yield receivers
    receivers.free.set()


def test_everything_offered_is_sent_once_and_in_order_of_its_receiver(receivers: Receivers) -> None:
    courier = Sender(receivers.send, keep_s=10, threads=1)
    for number in range(50):
        courier.offer([delivery(number, host=f"{number % 5}.example")])
    receivers.wait_for(lambda: len(receivers.arrived) == 50)
    courier.close()
    for host in range(5):
        assert receivers.numbers(f"{host}.example") == list(range(host, 50, 5))


def test_a_receiver_never_has_more_than_two_connections_and_a_new_one_has_one(
    receivers: Receivers,
) -> None:
    courier = Sender(receivers.send, keep_s=10)
    known(courier, receivers, "known.example")
    for host in ("known.example", "new.example"):
        receivers.stuck.add(host)
        courier.offer([delivery(number, host=host) for number in range(1, 21)])
    receivers.wait_for(lambda: len(receivers.arrived) == 1 + 2 + 1)
    receivers.free.set()
    receivers.wait_for(lambda: len(receivers.arrived) == 1 + 20 + 20)
    courier.close()
    assert receivers.most_at_once["known.example"] == 2


def test_a_stuck_receiver_holds_up_nobody_else(receivers: Receivers) -> None:
    receivers.stuck.add("stuck.example")
    courier = Sender(receivers.send, keep_s=10, threads=4)
    courier.offer([delivery(number, host="stuck.example") for number in range(20)])
    courier.offer([delivery(number, host="healthy.example") for number in range(20)])
    receivers.wait_for(lambda: len(receivers.numbers("healthy.example")) == 20)
    assert receivers.numbers("stuck.example") == [0]
    receivers.free.set()
    courier.close()


def test_slow_receivers_together_leave_half_of_the_threads_to_others(
    receivers: Receivers,
) -> None:
    courier = Sender(receivers.send, keep_s=10, threads=4, slow_s=0)  # one try makes it slow
    slow = [f"slow{number}.example" for number in range(4)]
    for host in slow:
        courier.offer([delivery(0, host=host)])
    receivers.wait_for(lambda: len(receivers.arrived) == 4)
    while courier.in_flight:
        time.sleep(0.001)
    receivers.stuck.update(slow)
    for host in slow:
        courier.offer([delivery(1, host=host)])
    courier.offer([delivery(0, host="healthy.example")])
    receivers.wait_for(lambda: receivers.numbers("healthy.example") == [0])
    assert sum(len(receivers.numbers(host)) for host in slow) == 4 + 2
    receivers.free.set()
    receivers.wait_for(lambda: sum(len(receivers.numbers(host)) for host in slow) == 4 + 4)
    courier.close()


def test_however_many_new_ones_are_stuck_those_known_to_be_quick_are_served(
    receivers: Receivers,
) -> None:
    courier = Sender(receivers.send, keep_s=10, threads=2)
    known(courier, receivers, "quick.example")
    stuck = [f"stuck{number}.example" for number in range(20)]
    receivers.stuck.update(stuck)
    courier.offer([delivery(0, host=host) for host in stuck])
    courier.offer([delivery(number, host="quick.example") for number in range(1, 11)])
    receivers.wait_for(lambda: len(receivers.numbers("quick.example")) == 11)
    assert len(receivers.arrived) == 11 + 2
    receivers.free.set()
    courier.close()


def test_a_quick_one_that_gets_stuck_makes_room_for_other_quick_ones(receivers: Receivers) -> None:
    courier = Sender(receivers.send, keep_s=10, threads=2, slow_s=0.3)
    for host in ("a.example", "b.example"):
        known(courier, receivers, host)
    receivers.stuck.add("a.example")
    courier.offer([delivery(number, host="a.example") for number in range(1, 3)])
    receivers.wait_for(lambda: len(receivers.numbers("a.example")) == 3)
    courier.offer([delivery(1, host="b.example")])
    give_up = time.monotonic() + 10
    while len(receivers.numbers("b.example")) < 2:
        assert time.monotonic() < give_up
        courier.offer([])
        time.sleep(0.01)
    receivers.free.set()
    courier.close()


def test_the_number_of_threads_is_bounded_whoever_gets_stuck(receivers: Receivers) -> None:
    courier = Sender(receivers.send, keep_s=10, threads=2, slow_s=0.01)
    hosts = [f"quick{number}.example" for number in range(20)]
    for host in hosts:
        known(courier, receivers, host)
    receivers.stuck.update(hosts)
    courier.offer([delivery(1, host=host) for host in hosts])
    for _ in range(20):
        courier.offer([])
        time.sleep(0.01)
    assert courier.in_flight <= 8
    receivers.free.set()
    courier.close()


def test_what_waited_too_long_is_dropped_for_another_may_have_it(receivers: Receivers) -> None:
    receivers.stuck.add("stuck.example")
    courier = Sender(receivers.send, keep_s=0.4)
    for number in range(5):
        courier.offer([delivery(number, host="stuck.example")])
    time.sleep(0.5)
    receivers.free.set()
    while courier.in_flight:
        time.sleep(0.001)
    courier.offer([delivery(5, host="stuck.example")])
    courier.close()
    assert receivers.numbers("stuck.example") == [0, 5]


def test_a_lane_in_which_many_wait_is_full_until_they_are_sent(receivers: Receivers) -> None:
    receivers.stuck.add("stuck.example")
    courier = Sender(receivers.send, keep_s=10)
    courier.offer([delivery(number, host="stuck.example") for number in range(sender.FULL)])
    assert courier.full() == []  # one is on its way
    courier.offer([delivery(sender.FULL, host="stuck.example"), delivery(0, host="a.example")])
    assert courier.full() == ["stuck.example"]
    receivers.free.set()
    receivers.wait_for(lambda: len(receivers.numbers("stuck.example")) == sender.FULL + 1)
    courier.close()
    assert courier.full() == []


def test_closing_waits_for_what_is_in_flight_and_starts_nothing_more(receivers: Receivers) -> None:
    receivers.stuck.add("stuck.example")
    courier = Sender(receivers.send, keep_s=10)
    for number in range(5):
        courier.offer([delivery(number, host="stuck.example")])
    closing = threading.Thread(target=courier.close)
    closing.start()
    closing.join(0.1)
    assert closing.is_alive()
    receivers.free.set()
    closing.join(10)
    assert receivers.numbers("stuck.example") == [0]
    assert courier.in_flight == 0
