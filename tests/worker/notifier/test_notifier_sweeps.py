from __future__ import annotations

from threading import Event, Thread

from redis import Redis

from shared.jobs.store import JobStore
from shared.net.fetcher import Fetcher
from shared.queue.celery_queue import Doorbell, make_celery
from shared.redis.scripts import Scripts
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import INSTALLATION, KEY_COPIES, result_key
from shared.tenants.api_keys import KeyRing
from shared.webhooks.outbox import Outbox
from tests.jobs import TENANT, queue_job, write_manifest
from tests.waiting import eventually
from worker.notifier.notifier import Notifier


def test_a_running_notifier_sweeps_and_copies_keys(
    store: JobStore, outbox: Outbox, storage: ObjectStorage, redis: Redis, settings: Settings
) -> None:
    keys = KeyRing(Scripts(redis), settings.api_key_pepper)
    keys.create(TENANT, "shop")
    job = store.get(TENANT, queue_job(store))
    write_manifest(storage, job)
    store.erase(TENANT, job.id)
    storage.put(result_key(TENANT, job.id, "late", "restored.png"), b"x", "image/png")

    notifier = Notifier(
        store=store,
        outbox=outbox,
        storage=storage,
        keys=keys,
        doorbell=Doorbell(make_celery(settings, role="notifier")),
        fetcher=Fetcher(allow_private="none"),
        settings=settings.model_copy(update={"sweep_s": 0.2}),
    )
    stop = Event()
    running = Thread(target=notifier.run, args=[stop])
    running.start()
    try:
        eventually(
            lambda: {stored.key for stored in storage.list("")} == {INSTALLATION, KEY_COPIES}
        )
    finally:
        stop.set()
        running.join()
