from __future__ import annotations

from worker.engine_process.batch_metrics import DeviceBatch
from worker.jobs.activity import Activity
from worker.jobs.places import DevicePlaces, FetchPlaces, Line


def test_a_worker_announces_its_places_and_what_it_did_since_the_last_time() -> None:
    device, fetches = DevicePlaces(4), FetchPlaces(total=16, per_tenant=4, per_host=8)
    activity = Activity("cuda:1")
    activity.count(DeviceBatch("m", 1.0, 0.5, [0.1] * 8, ["job_1"] * 8, (5, 9)))
    with device.hold(Line.DOORBELL):
        state = activity.state(device, fetches)
    assert (state.device, state.places, state.places_in_use) == ("cuda:1", 4, 1)
    assert (state.fetches, state.fetches_in_use, state.memory_bytes) == (16, 0, 5)
    assert state.faces_per_s > 0
    assert 0 < state.busy <= 1
    activity.count(DeviceBatch("shadow", 2.0, 0.0, [0.1], [""]))  # its face is of no job
    later = activity.state(device, fetches)
    assert (later.faces_per_s, later.busy, later.memory_bytes) == (0, 0, 5)
