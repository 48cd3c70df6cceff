from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest

from shared.errors import ModelUnavailable, OutOfMemory
from worker.engine.batching.batcher import Answer, Batcher, Run
from worker.engine.controls import Controls
from worker.engine.devices import is_out_of_memory
from worker.imaging.decode import Pixels

WAIT_S = 10


class Device:
    """Inverts crops, remembers its batches, and holds only so many at once."""

    def __init__(self, holds: int = 100) -> None:
        self.holds = holds
        self.batches: list[int] = []
        self.seeds: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def run(self, crops: Sequence[Pixels], seed: int, _controls: Controls) -> list[Answer]:
        self.gate.wait(WAIT_S)
        self.batches.append(len(crops))
        self.seeds.append(seed)
        if seed < 0:
            raise ValueError("a seed is not negative")
        if len(crops) > self.holds:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return [255 - crop for crop in crops]


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def batcher(device: Device) -> Iterator[Batcher]:
    batcher = batching(device.run)
    yield batcher
    device.gate.set()
    batcher.close()


def batching(run: Run, max_batch: int = 4, max_wait_ms: float = 1) -> Batcher:
    return Batcher(
        run, max_batch=max_batch, max_wait_ms=max_wait_ms, is_out_of_memory=is_out_of_memory
    )


def crop_of(number: int) -> Pixels:
    return np.full((2, 2, 3), number, np.uint8)


def test_answers_are_never_mixed_between_threads(batcher: Batcher, device: Device) -> None:
    def ask(number: int) -> bool:
        answer = batcher.submit(crop_of(number), seed=number % 3).result(WAIT_S)
        return answer is not None and bool((answer == 255 - number).all())

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(256)))
    assert sum(device.batches) == 256
    assert max(device.batches) <= 4


def test_crops_that_wait_together_share_a_batch(batcher: Batcher, device: Device) -> None:
    device.gate.clear()
    first = batcher.submit(crop_of(0), 0)
    while not first.running():
        threading.Event().wait(0.001)
    others = [batcher.submit(crop_of(number), 0) for number in range(1, 7)]
    device.gate.set()
    wait([first, *others], WAIT_S)
    assert device.batches == [1, 4, 2]


def test_a_full_batch_does_not_wait(device: Device) -> None:
    batcher = batching(device.run, max_batch=2, max_wait_ms=WAIT_S * 1000)
    futures = [batcher.submit(crop_of(number), 0) for number in range(2)]
    assert all(future.result(WAIT_S / 2) is not None for future in futures)
    batcher.close()


def test_only_crops_of_one_seed_share_a_batch(batcher: Batcher, device: Device) -> None:
    device.gate.clear()
    futures = [batcher.submit(crop_of(seed), seed) for seed in (1, 2, 1, 2)]
    device.gate.set()
    wait(futures, WAIT_S)
    assert len(device.batches) == len(device.seeds)
    assert sorted(np.repeat(device.seeds, device.batches)) == [1, 1, 2, 2]


def test_a_batch_too_large_for_the_device_is_halved(device: Device) -> None:
    device.holds = 1
    batcher = batching(device.run, max_batch=4, max_wait_ms=1000)
    futures = [batcher.submit(crop_of(number), 0) for number in range(4)]
    for number, future in enumerate(futures):
        answer = future.result(WAIT_S)
        assert answer is not None
        assert answer[0, 0, 0] == 255 - number
    assert device.batches == [4, 2, 1, 1, 2, 1, 1]
    batcher.close()


def test_a_crop_that_does_not_fit_alone_is_out_of_memory(batcher: Batcher, device: Device) -> None:
    device.holds = 0
    with pytest.raises(OutOfMemory):
        batcher.submit(crop_of(0), 0).result(WAIT_S)
    device.holds = 1
    assert batcher.submit(crop_of(0), 0).result(WAIT_S) is not None


def test_another_error_goes_to_those_who_wait_and_the_thread_lives(
    batcher: Batcher, device: Device
) -> None:
    with pytest.raises(ValueError, match="seed"):
        batcher.submit(crop_of(0), -1).result(WAIT_S)
    assert batcher.submit(crop_of(0), 0).result(WAIT_S) is not None


def test_a_cancelled_crop_is_not_run(batcher: Batcher, device: Device) -> None:
    device.gate.clear()
    first = batcher.submit(crop_of(0), 0)
    while not first.running():
        threading.Event().wait(0.001)
    assert batcher.submit(crop_of(1), 0).cancel()
    device.gate.set()
    batcher.submit(crop_of(2), 0).result(WAIT_S)
    assert sum(device.batches) == 2


def test_closing_refuses_what_waits_and_what_comes(batcher: Batcher, device: Device) -> None:
    device.gate.clear()
    running = batcher.submit(crop_of(0), 0)
    while not running.running():
        threading.Event().wait(0.001)
    waiting = batcher.submit(crop_of(1), 0)
    closer = threading.Thread(target=batcher.close)
    closer.start()
    device.gate.set()
    closer.join(WAIT_S)
    assert running.result(WAIT_S) is not None
    with pytest.raises(ModelUnavailable):
        waiting.result(WAIT_S)
    with pytest.raises(ModelUnavailable):
        batcher.submit(crop_of(2), 0)
