"""The end of each test: all processes die, all doorbells are lost, and nothing more goes wrong.

Each accepted job must end by itself, and nothing may be left behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.errors import NotFound
from shared.jobs.job import Status
from tests.shared.model.guarantees import Guarantee, require
from tests.shared.model.ledger import JobHistory
from tests.shared.model.notifier import Dispatcher, Expiry, Reaper, WebhookDelivery
from tests.shared.model.observation import check_all

if TYPE_CHECKING:
    from tests.shared.model.world import World

SOON_S = 5.0
#: A job that waits for an equal one is looked at so often, if nothing else wakes it.
EQUAL_WAIT_S = 30.0
#: After so long no API process is still creating a job.
ABANDONED_S = 1000.0
#: Seconds between the rounds of the notifier: short at first, then as long as the waits.
ROUNDS_S = (*[1.0] * 5, *[60.0] * 8, *[3600.0] * 30)


def run_to_quiescence(world: World) -> None:
    """Raises BrokenGuarantee."""
    world.watched = False
    for process in [*world.processes]:
        world.kill(process)
    world.doorbells.lose_all()
    _check_starts_soon(world)
    world.clock.forward(ABANDONED_S)
    world.sweep()
    for pause_s in ROUNDS_S:
        _round(world)
        if not any(_unfinished(world, history) for history in world.ledger.histories.values()):
            break
        world.clock.forward(pause_s)
    for history in world.ledger.histories.values():
        _check_ended(world, history)
    _check_nothing_left(world)


def _check_starts_soon(world: World) -> None:
    """Check that due jobs start within seconds after the dispatcher is back or a lease ends.

    Those that wait for an equal job start when that one has ended, or after their wait.
    """
    waiting = _waiting(world)
    before = {
        history.job_id: (_status(world, history), history.starts)
        for history in world.ledger.remaining
        if not _status(world, history).terminal
    }
    within_s = world.settings.lease_s + (EQUAL_WAIT_S if waiting else SOON_S)
    for second in range(int(within_s)):
        if second == SOON_S:
            due = {
                job_id: was
                for job_id, was in before.items()
                if was[0] is Status.QUEUED and job_id not in waiting
            }
            _require_started(world, due)
        world.clock.forward(1.0)
        world.run_all(Reaper(world))
        world.run_all(Dispatcher(world))
        _work(world)
    _require_started(world, before)


def _waiting(world: World) -> set[str]:
    """Return the ids of the jobs that wait for an equal one."""
    names = world.redis.keys("fm:waiting:*")
    return {job_id for name in names for job_id in world.redis.zrange(name, 0, -1)}


def _require_started(world: World, before: dict[str, tuple[Status, int]]) -> None:
    late = [
        job_id
        for job_id, (_, starts) in before.items()
        if (history := world.ledger.histories[job_id]).starts == starts
        and not _status(world, history).terminal
    ]
    require(not late, Guarantee.SOON, late)


def _round(world: World) -> None:
    world.run_all(Reaper(world))
    world.run_all(Dispatcher(world))
    _work(world)
    for _ in world.ledger.histories:
        world.run_all(WebhookDelivery(world, "delivered"))
    world.run_all(Expiry(world))
    check_all(world)


def _work(world: World) -> None:
    while world.ring(world.workers[0], "succeeded", 100):
        for process in [*world.processes]:
            world.resume(process)


def _status(world: World, history: JobHistory) -> Status:
    return world.store.get(history.tenant, history.job_id).status


def _unfinished(world: World, history: JobHistory) -> bool:
    if not history.erased and not _status(world, history).terminal:
        return True
    return any(
        _state(world, history, delivery_id) == "pending" for delivery_id in history.deliveries
    )


def _state(world: World, history: JobHistory, delivery_id: str) -> str:
    """Deliveries outlive an expired job, but not an erased one."""
    try:
        return str(world.outbox.find(history.tenant, delivery_id)["state"])
    except NotFound:
        require(history.erased, Guarantee.RECEIVED, f"{history.job_id} lost {delivery_id}")
        return "gone"


def _check_ended(world: World, history: JobHistory) -> None:
    require(history.erased or _status(world, history).terminal, Guarantee.ENDS, history)
    for delivery_id, event_id in history.deliveries.items():
        state = _state(world, history, delivery_id)
        require(state != "pending", Guarantee.RECEIVED, f"{delivery_id} is {state}")
        require(
            state != "delivered" or event_id in history.received_ids,
            Guarantee.RECEIVED,
            delivery_id,
        )
    known = set(history.deliveries.values())
    require(history.lost_with_redis or history.received_ids <= known, Guarantee.RECEIVED, history)


def _check_nothing_left(world: World) -> None:
    """Check that no old photo, unused result, manifest or record is left."""
    world.clock.forward(world.settings.input_ttl_s)
    world.sweep()
    shown = {history.shown.rpartition("/")[0] for history in world.ledger.remaining}
    stored = {
        found.key.rpartition("/")[0]
        for found in world.storage.list("tenants/")
        if "/results/" in found.key
    }
    require(stored <= shown, Guarantee.CLEAN, stored - shown)
    remaining = {history.job_id for history in world.ledger.remaining}
    photos = [found.key for found in world.storage.list("tenants/") if "/inputs/" in found.key]
    require(not photos, Guarantee.CLEAN, photos)
    manifests = [*world.manifests.all()]
    require(not manifests, Guarantee.CLEAN, manifests)
    keys = {name.split(":")[2] for name in world.redis.keys("fm:job:*")}
    require(keys <= remaining, Guarantee.CLEAN, keys - remaining)
