from __future__ import annotations

from prometheus_client import REGISTRY

from worker.engine_process.batch_metrics import count as count_batch


def sample(name: str) -> float:
    return REGISTRY.get_sample_value(name, {"model": "counted"}) or 0.0


def test_a_batch_counts_once_with_its_size_and_each_face_with_its_wait() -> None:
    count_batch("counted", [0.25, 0.5])
    count_batch("counted", [1.0])
    assert sample("facemend_batch_faces_count") == 2
    assert sample("facemend_batch_faces_sum") == 3
    assert sample("facemend_batch_wait_seconds_count") == 3
    assert sample("facemend_batch_wait_seconds_sum") == 1.75
