"""What anyone can read after each step, held against the ledger."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.jobs.job import TERMINAL_EVENT, Job, Status
from shared.jobs.record import to_job
from shared.storage.keys import manifest_key
from tests.shared.model.caller import TENANTS
from tests.shared.model.ledger import Story
from tests.shared.model.promises import Promise, require

if TYPE_CHECKING:
    from tests.shared.model.world import World


#: Records and indexes, all read at one moment.
LOOK = """
local found, wanted = {}, tonumber(ARGV[1])
for i = 2, 1 + wanted do
  if redis.call('EXISTS', key('job', ARGV[i])) == 1 then
    found[#found + 1] = {ARGV[i], view(ARGV[i])}
  end
end
local indexes = {}
for i = 2 + wanted, #ARGV do
  indexes[#indexes + 1] = redis.call('ZRANGE', key(ARGV[i]), 0, -1)
end
return {found, indexes}
"""
INDEXES = ("leases", "deadlines", "expiry")
OF_TENANTS = tuple(f"tenant:{name}:{index}" for name in TENANTS for index in ("queued", "jobs"))


@dataclass(frozen=True, slots=True)
class Sight:
    """What is there: records by id, and the members of each index."""

    jobs: dict[str, Job]
    indexes: dict[str, set[str]]


def look(world: World, job_ids: Collection[str]) -> Sight:
    names = (*INDEXES, *OF_TENANTS)
    found, indexes = world.scripts.run("look", len(job_ids), *job_ids, *names)
    jobs = {job_id: to_job(job_id, view) for job_id, view in found}
    return Sight(jobs, dict(zip(names, map(set, indexes), strict=True)))


def observe(world: World) -> None:
    """Raises BrokenPromise."""
    sight = look(world, world.ledger.stories)
    for story in world.ledger.stories.values():
        _hold(world, story, sight.jobs.get(story.job_id))
    recount(sight)


def _hold(world: World, story: Story, job: Job | None) -> None:
    """One job against its story."""
    if job is None:
        require(story.erased, Promise.KEPT, f"{story.job_id} has no record")
        return
    require(not story.erased, Promise.STAYS, f"{story.job_id} was erased and is back")
    if not job.status.terminal:
        require(not story.ended, Promise.STAYS, f"{story.job_id} had ended {story.ends}")
        if story.accepted and not story.fading:
            key = manifest_key(story.tenant, story.job_id, job.generation)
            require([*world.shelf.list(key)], Promise.REBUILT, f"{story.job_id} has no manifest")
        return
    if story.final is None:
        _ends(world, story, job)
    require(job == story.final, Promise.STAYS, f"{story.final} became {job}")
    if job.status is Status.SUCCEEDED and not story.fading:
        key = (job.result or {})["image"]["key"]
        there = [found.key for found in world.shelf.list(key)]
        require(there == [key], Promise.THERE, f"{story.job_id} names {key}")


def _ends(world: World, story: Story, job: Job) -> None:
    story.ended, story.final = True, job
    story.ends.append(job.status)
    if story.canceled:
        require(job.status is Status.CANCELED, Promise.CANCELED, job)
    code = (job.error or {}).get("code")
    guilty = code != "poisoned" or story.client.poison
    require(guilty, Promise.GUILTY, f"{story.job_id} crashed nothing: {job.error}")
    found = world.store.deliveries(story.tenant, story.job_id)
    story.letters = {entry["id"]: entry["event_id"] for entry in found}
    events = [entry["event"] for entry in found]
    wanted = [TERMINAL_EVENT[end] for end in story.ends] if story.client.wants_events else []
    require(events == wanted, Promise.ANNOUNCED, f"{story.job_id}: {events}, not {wanted}")
    ids = set(story.letters.values())
    require(len(ids) == len(wanted), Promise.HEARD, f"{story.job_id}: {ids} for {wanted}")


def recount(sight: Sight) -> None:
    """Every index, made anew from the records."""
    jobs = sight.jobs.values()
    queued = {job.id for job in jobs if job.status is Status.QUEUED}
    running = {job.id for job in jobs if job.status is Status.RUNNING}
    ended = {job.id for job in jobs if job.status.terminal}
    expected = {"leases": running, "deadlines": queued | running, "expiry": ended}
    for tenant in TENANTS:
        mine = {job.id for job in jobs if job.tenant == tenant}
        expected |= {f"tenant:{tenant}:queued": mine & queued, f"tenant:{tenant}:jobs": mine}
    require(sight.indexes == expected, Promise.RECOUNT, f"{sight.indexes}, not {expected}")
