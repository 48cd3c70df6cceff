"""After each step: compare everything that can be read with the ledger."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.jobs.job import TERMINAL_EVENT, Job, Status
from shared.jobs.record import to_job
from shared.storage.keys import manifest_key
from tests.shared.model.caller import TENANTS
from tests.shared.model.guarantees import Guarantee, require
from tests.shared.model.ledger import JobHistory

if TYPE_CHECKING:
    from tests.shared.model.world import World


#: Records and indexes, all read at one moment.
READ_ALL = """-- Reads records and indexes.
--
-- Arguments:
--   count: number     ids among the names
--   names: texts      ids of jobs, then names of indexes
local found, indexes = {}, {}
for i, name in ipairs(names) do
  if i > count then
    indexes[#indexes + 1] = redis.call('ZRANGE', key(name), 0, -1)
  elseif redis.call('EXISTS', key('job', name)) == 1 then
    found[#found + 1] = {name, job_view(name)}
  end
end
return {found, indexes}
"""
INDEXES = ("leases", "deadlines", "expiry", "expiring")
OF_TENANTS = tuple(f"tenant:{name}:{index}" for name in TENANTS for index in ("queued", "jobs"))


@dataclass(frozen=True, slots=True)
class Observation:
    """Records by id, and the members of each index, at one moment."""

    jobs: dict[str, Job]
    indexes: dict[str, set[str]]


def read_all(world: World, job_ids: Collection[str]) -> Observation:
    names = (*INDEXES, *OF_TENANTS)
    found, indexes = world.scripts.run("read_all", count=len(job_ids), names=[*job_ids, *names])
    jobs = {job_id: to_job(job_id, view) for job_id, view in found}
    members = dict(zip(names, map(set, indexes), strict=True))
    members["expiry"] |= members.pop("expiring")  # an ended job is in one of the two
    return Observation(jobs, members)


def check_all(world: World) -> None:
    """Raises BrokenGuarantee."""
    observation = read_all(world, world.ledger.histories)
    for history in world.ledger.histories.values():
        _check_job(world, history, observation.jobs.get(history.job_id))
    check_indexes(observation)


def _check_job(world: World, history: JobHistory, job: Job | None) -> None:
    """Compare one job with its history."""
    if job is None:
        require(history.erased, Guarantee.KEPT, f"{history.job_id} has no record")
        return
    require(not history.erased, Guarantee.STAYS, f"{history.job_id} was erased and is back")
    if not job.status.terminal:
        require(not history.ended, Guarantee.STAYS, f"{history.job_id} had ended {history.ends}")
        if history.accepted and not history.being_erased:
            key = manifest_key(history.tenant, history.job_id, job.generation)
            require(
                [*world.storage.list(key)], Guarantee.REBUILT, f"{history.job_id} has no manifest"
            )
        return
    if history.final is None:
        _check_end(world, history, job)
    require(job == history.final, Guarantee.STAYS, f"{history.final} became {job}")
    if job.status is Status.SUCCEEDED and not history.being_erased:
        key = (job.result or {})["image"]["key"]
        there = [found.key for found in world.storage.list(key)]
        require(there == [key], Guarantee.THERE, f"{history.job_id} names {key}")


def _check_end(world: World, history: JobHistory, job: Job) -> None:
    history.ended, history.final = True, job
    history.ends.append(job.status)
    if history.canceled:
        require(job.status is Status.CANCELED, Guarantee.CANCELED, job)
    code = (job.error or {}).get("code")
    guilty = code != "poisoned" or history.client.poison
    require(guilty, Guarantee.GUILTY, f"{history.job_id} crashed nothing: {job.error}")
    found = world.outbox.of_job(history.tenant, history.job_id)
    history.deliveries = {entry["id"]: entry["event_id"] for entry in found}
    events = [entry["event"] for entry in found]
    wanted = [TERMINAL_EVENT[end] for end in history.ends] if history.client.wants_events else []
    require(events == wanted, Guarantee.ANNOUNCED, f"{history.job_id}: {events}, not {wanted}")
    ids = set(history.deliveries.values())
    require(len(ids) == len(wanted), Guarantee.RECEIVED, f"{history.job_id}: {ids} for {wanted}")


def check_indexes(observation: Observation) -> None:
    """Compare every index with one that is made from the records."""
    jobs = observation.jobs.values()
    queued = {job.id for job in jobs if job.status is Status.QUEUED}
    running = {job.id for job in jobs if job.status is Status.RUNNING}
    ended = {job.id for job in jobs if job.status.terminal}
    expected = {"leases": running, "deadlines": queued | running, "expiry": ended}
    for tenant in TENANTS:
        mine = {job.id for job in jobs if job.tenant == tenant}
        expected |= {f"tenant:{tenant}:queued": mine & queued, f"tenant:{tenant}:jobs": mine}
    require(observation.indexes == expected, Guarantee.RECOUNT, f"not {expected}")
