"""The end of every story: all processes die, all bells are lost, and then nothing more goes wrong.

Whatever was accepted has to come to its end by itself, and nothing may be left behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.errors import NotFound
from shared.jobs.job import Status
from tests.shared.model.duties import Courier, Dispatch, Expiry, Reaping
from tests.shared.model.ledger import Story
from tests.shared.model.observation import observe
from tests.shared.model.promises import Promise, require

if TYPE_CHECKING:
    from tests.shared.model.world import World

SOON_S = 5.0
#: After so long nobody is about to finish what an API that died had begun.
FORGOTTEN_S = 1000.0
#: Seconds between the notifier's rounds: every second at first, and then as waits are long.
ROUNDS_S = (*[1.0] * 5, *[60.0] * 8, *[3600.0] * 30)


def come_to_rest(world: World) -> None:
    """Raises BrokenPromise."""
    world.watched = False
    for process in [*world.processes]:
        world.kill(process)
    world.bells.lose_all()
    _starts_soon(world)
    world.clock.forward(FORGOTTEN_S)
    world.sweep()
    for pause_s in ROUNDS_S:
        _round(world)
        if not any(_open(world, story) for story in world.ledger.stories.values()):
            break
        world.clock.forward(pause_s)
    for story in world.ledger.stories.values():
        _came_to_its_end(world, story)
    _nothing_is_left(world)


def _starts_soon(world: World) -> None:
    """What is due starts within seconds of the dispatcher's return, or of the end of a lease."""
    before = {
        story.job_id: (_status(world, story), story.starts)
        for story in world.ledger.left
        if not _status(world, story).terminal
    }
    for second in range(int(SOON_S + world.settings.lease_s)):
        if second == SOON_S:
            _all_started(world, {at: was for at, was in before.items() if was[0] is Status.QUEUED})
        world.clock.forward(1.0)
        world.do(Reaping(world))
        world.do(Dispatch(world))
        _work(world)
    _all_started(world, before)


def _all_started(world: World, before: dict[str, tuple[Status, int]]) -> None:
    late = [
        job_id
        for job_id, (_, starts) in before.items()
        if (story := world.ledger.stories[job_id]).starts == starts
        and not _status(world, story).terminal
    ]
    require(not late, Promise.SOON, late)


def _round(world: World) -> None:
    world.do(Reaping(world))
    world.do(Dispatch(world))
    _work(world)
    for _ in world.ledger.stories:
        world.do(Courier(world, "delivered"))
    world.do(Expiry(world))
    observe(world)


def _work(world: World) -> None:
    while world.hear(world.engines[0], "succeeded", 100):
        for process in [*world.processes]:
            world.go_on(process)


def _status(world: World, story: Story) -> Status:
    return world.store.get(story.tenant, story.job_id).status


def _open(world: World, story: Story) -> bool:
    if not story.erased and not _status(world, story).terminal:
        return True
    return any(_state(world, story, letter) == "pending" for letter in story.letters)


def _state(world: World, story: Story, letter: str) -> str:
    """Letters outlive a job that has expired, but not one that was erased."""
    try:
        return str(world.store.outbox.find(story.tenant, letter)["state"])
    except NotFound:
        require(story.erased, Promise.HEARD, f"{story.job_id} lost {letter}")
        return "gone"


def _came_to_its_end(world: World, story: Story) -> None:
    require(story.erased or _status(world, story).terminal, Promise.ENDS, story)
    for letter, event_id in story.letters.items():
        state = _state(world, story, letter)
        require(state != "pending", Promise.HEARD, f"{letter} is {state}")
        require(state != "delivered" or event_id in story.heard, Promise.HEARD, letter)
    known = set(story.letters.values())
    require(story.forgotten or story.heard <= known, Promise.HEARD, story)


def _nothing_is_left(world: World) -> None:
    """No photo after its time, no result that nobody shows, no manifest, no record."""
    world.clock.forward(world.settings.input_ttl_s)
    world.sweep()
    shown = {story.shown.rpartition("/")[0] for story in world.ledger.left}
    stored = {
        found.key.rpartition("/")[0]
        for found in world.shelf.list("tenants/")
        if "/results/" in found.key
    }
    require(stored <= shown, Promise.CLEAN, stored - shown)
    left = {story.job_id for story in world.ledger.left}
    photos = [found.key for found in world.shelf.list("tenants/") if "/inputs/" in found.key]
    require(not photos, Promise.CLEAN, photos)
    promises = [*world.manifests.all()]
    require(not promises, Promise.CLEAN, promises)
    keys = {name.split(":")[2] for name in world.redis.keys("fm:job:*")}
    require(keys <= left, Promise.CLEAN, keys - left)
