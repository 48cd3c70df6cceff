"""The batcher: deadlines, back-pressure, statistics; no job gets the output of another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import DeadlineExceeded, ModelUnavailable
from worker.engine.batching.batch_report import BatchReport, crops_of
from worker.engine.batching.batcher import Batcher, RestoredCrop
from worker.engine.devices import is_out_of_memory
from worker.engine.gpen.controls import DEFAULT_CONTROLS, GeneratorControls
from worker.imaging.decode import Pixels

WAIT_S = 10


class Device:
    """Returns number, seed and noise scale for each crop; has memory for a few crops."""

    def __init__(self, holds: int = 100) -> None:
        self.holds = holds
        self.batches: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def run(
        self, crops: Sequence[Pixels], seed: int, controls: GeneratorControls
    ) -> list[RestoredCrop]:
        self.gate.wait(WAIT_S)
        if len(crops) > self.holds:
            raise MemoryError
        self.batches.append(len(crops))
        noise = int(controls.noise_scale * 100)
        return [np.array([*crop.flat, seed, noise]) for crop in crops]


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def make(device: Device) -> Iterator[Callable[..., Batcher]]:
    made = []

    def make(**options: object) -> Batcher:
        chosen = {"max_batch": 2, "max_wait_ms": 1, "is_out_of_memory": is_out_of_memory}
        made.append(Batcher(device.run, **chosen | options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    device.gate.set()
    for batcher in made:
        batcher.close()


def numbered(number: int) -> Pixels:
    return np.array([number // 256, number % 256], np.uint8)


jobs = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([0.0, 0.5, 1.0]), st.integers(1, 12)),
    min_size=1,
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(jobs=jobs, max_batch=st.integers(1, 7), holds=st.integers(1, 7))
def test_no_job_ever_gets_the_output_of_another(
    jobs: list[tuple[int, float, int]], max_batch: int, holds: int
) -> None:
    """Jobs with different seeds and controls run at once on a device with little memory."""
    device = Device(holds)
    batcher = Batcher(
        device.run, max_batch=max_batch, max_wait_ms=1, is_out_of_memory=is_out_of_memory
    )
    starts = np.cumsum([0, *(count for _, _, count in jobs)])

    def job(index: int) -> bool:
        seed, noise, count = jobs[index]
        numbers = range(starts[index], starts[index] + count)
        futures = [batcher.submit(numbered(n), seed, GeneratorControls(noise)) for n in numbers]
        return [list(future.result(WAIT_S)) for future in futures] == [
            [n // 256, n % 256, seed, int(noise * 100)] for n in numbers
        ]

    with ThreadPoolExecutor(len(jobs)) as pool:
        assert all(pool.map(job, range(len(jobs))))
    batcher.close()
    assert sum(device.batches) == starts[-1]
    assert max(device.batches) <= min(max_batch, holds)


def test_crops_of_other_controls_do_not_share_a_batch(
    make: Callable[..., Batcher], device: Device
) -> None:
    batcher = make(max_batch=4, max_wait_ms=50)
    futures = [
        batcher.submit(numbered(1), 0, each) for each in (DEFAULT_CONTROLS, GeneratorControls(0.5))
    ]
    assert [int(future.result(WAIT_S)[-1]) for future in futures] == [100, 50]
    assert device.batches == [1, 1]


def test_a_crop_whose_deadline_has_passed_is_not_run(
    make: Callable[..., Batcher], device: Device
) -> None:
    batcher = make()
    device.gate.clear()
    running = batcher.submit(numbered(0))
    while not running.running():
        time.sleep(0.001)
    late = batcher.submit(numbered(1), deadline_s=time.monotonic() + 0.01)
    in_time = batcher.submit(numbered(2), deadline_s=time.monotonic() + WAIT_S)
    time.sleep(0.02)
    device.gate.set()
    with pytest.raises(DeadlineExceeded):
        late.result(WAIT_S)
    assert in_time.result(WAIT_S) is not None
    assert sum(device.batches) == 2


def fill(batcher: Batcher, device: Device) -> None:
    """Fill the queue behind one crop that runs."""
    device.gate.clear()
    running = batcher.submit(numbered(0))
    while not running.running():
        time.sleep(0.001)
    for number in range(batcher.max_waiting):
        batcher.submit(numbered(number))


def test_a_caller_waits_if_the_queue_has_no_room(
    make: Callable[..., Batcher], device: Device
) -> None:
    batcher = make()
    fill(batcher, device)
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(batcher.submit, numbered(7))
        time.sleep(0.05)
        assert not coming.done()
        device.gate.set()
        answer = coming.result(WAIT_S).result(WAIT_S)
    assert answer is not None
    assert answer[1] == 7


def test_a_deadline_ends_the_wait_for_room(make: Callable[..., Batcher], device: Device) -> None:
    batcher = make()
    fill(batcher, device)
    with pytest.raises(DeadlineExceeded, match="no room"):
        batcher.submit(numbered(7), deadline_s=time.monotonic() + 0.01)


def test_closing_ends_the_wait_for_room(make: Callable[..., Batcher], device: Device) -> None:
    batcher = make()
    fill(batcher, device)
    with ThreadPoolExecutor(2) as pool:
        coming = pool.submit(batcher.submit, numbered(7))
        closing = pool.submit(batcher.close)
        with pytest.raises(ModelUnavailable):
            coming.result(WAIT_S)
        device.gate.set()
        closing.result(WAIT_S)


def test_each_batch_is_reported_with_the_waiting_times_of_its_crops(
    make: Callable[..., Batcher], device: Device
) -> None:
    reports: list[BatchReport] = []
    batcher = make(on_batch=reports.append)
    device.gate.clear()
    with crops_of("job_1"):
        futures = [batcher.submit(numbered(number)) for number in range(5)]
    time.sleep(0.02)
    device.gate.set()
    for future in futures:
        future.result(WAIT_S)
    batcher.close()
    reported = [report.waits_s for report in reports]
    assert {owner for report in reports for owner in report.owners} == {"job_1"}
    assert min(report.run_s for report in reports) > 0
    assert sorted(map(len, reported)) in ([1, 2, 2], [1, 1, 1, 2])
    assert max(map(max, reported)) >= 0.01
    assert min(map(min, reported)) >= 0


def test_the_batch_size_can_be_changed(make: Callable[..., Batcher], device: Device) -> None:
    batcher = make(max_batch=1, max_wait_ms=1000)
    batcher.max_batch = 3
    futures = [batcher.submit(numbered(number)) for number in range(3)]
    for future in futures:
        future.result(WAIT_S)
    assert device.batches == [3]
