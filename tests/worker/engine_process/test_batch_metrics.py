from __future__ import annotations

from prometheus_client import REGISTRY

from worker.engine_process.batch_metrics import DeviceBatch
from worker.engine_process.batch_metrics import count as count_batch


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels or {"model": "counted"}) or 0.0


def test_a_batch_counts_once_with_its_size_and_each_face_with_its_wait() -> None:
    count_batch(DeviceBatch("counted", 1.0, 0.5, [0.25, 0.5], ["job_1", "job_2"], (10, 40)))
    count_batch(DeviceBatch("counted", 2.0, 0.25, [1.0], ["job_1"], (20, 40)))
    assert sample("facemend_batch_faces_count") == 2
    assert sample("facemend_batch_faces_sum") == 3
    assert sample("facemend_batch_wait_seconds_count") == 3
    assert sample("facemend_batch_wait_seconds_sum") == 1.75
    assert sample("facemend_device_busy_seconds_total") == 0.75
    assert sample("facemend_device_memory_bytes", kind="used") == 20
    assert sample("facemend_device_memory_bytes", kind="total") == 40
