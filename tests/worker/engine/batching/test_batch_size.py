from __future__ import annotations

import time

import pytest

from worker.engine.batching.batch_size import best_batch, measure_batches


def test_the_smallest_size_that_is_as_good_as_the_best_is_taken() -> None:
    assert best_batch({1: 1.0, 2: 0.5, 4: 0.3, 8: 0.297}) == 4
    assert best_batch({1: 1.0, 2: 1.4}) == 1


def test_sizes_grow_until_they_no_longer_pay() -> None:
    tried = []

    def run(size: int) -> None:
        tried.append(size)
        time.sleep({1: 0.02, 2: 0.01, 4: 0.09}[size])

    assert set(measure_batches(run, 64)) == {1, 2, 4}
    assert best_batch(measure_batches(run, 64)) == 2
    assert max(tried) == 4


@pytest.mark.parametrize("limit", [1, 3])
def test_no_size_is_above_the_limit(limit: int) -> None:
    found = measure_batches(lambda size: time.sleep(0.001), limit)
    assert max(found) <= limit


def test_a_slow_device_is_not_measured_beyond_the_budget() -> None:
    assert set(measure_batches(lambda size: time.sleep(0.01), 64, budget_s=0.02)) == {1}
