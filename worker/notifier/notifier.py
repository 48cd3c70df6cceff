"""What has to happen without anyone asking: ``python -m worker.notifier``.

Every second: ring for jobs that are due, take jobs from dead workers, send webhooks, erase what is
expired. Any number of copies may run; each step is claimed in the store, and whatever a dead
notifier had begun comes again. Each duty has a thread of its own, so that none waits for another.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event, Thread
from typing import TypeVar

from shared.errors import SettingsInvalid, Unavailable
from shared.jobs.job import Status
from shared.jobs.store import JobStore
from shared.manifests.installation import Installation
from shared.net.fetcher import Fetcher
from shared.queue.celery_queue import Doorbell, make_celery
from shared.redis.client import connect
from shared.settings import Settings, load_settings
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import job_prefixes
from shared.telemetry import (
    DELIVERIES_PENDING,
    DOORBELLS,
    JOBS_REAPED,
    QUEUED,
    RUNNING,
    configure_logging,
    start_metrics_server,
)
from shared.tenants.api_keys import KeyRing
from worker.notifier.delivery import Courier
from worker.notifier.key_backup import KeyCopies
from worker.notifier.scheduler import Sender
from worker.notifier.sweeper import Sweeper

_logger = logging.getLogger(__name__)
BATCH = 100
MAX_BATCHES = 20
EVERY_S = 1.0
GAUGES_EVERY_S = 5.0
KEYS_EVERY_S = 5.0
MANIFESTS_EVERY_S = 60.0
EXIT_SETTINGS = 2

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Duty:
    """``settle_s`` is how long to wait before the first time and after a failure."""

    name: str
    tick: Callable[[], object]
    every_s: float = EVERY_S
    settle_s: float = 0.0


class Notifier:
    """``tick_*`` do one round each; ``run`` repeats them all until told to stop."""

    def __init__(
        self,
        *,
        store: JobStore,
        storage: ObjectStorage,
        keys: KeyRing,
        doorbell: Doorbell,
        fetcher: Fetcher,
        settings: Settings,
    ) -> None:
        self._store = store
        self._storage = storage
        self._doorbell = doorbell
        self._settings = settings
        self._stop = Event()
        # A delivery is ours for three times the longest try: a third to wait for its turn, a third
        # for the try, and a third to write down how it went.
        self._delivery_lease_s = 3 * settings.webhook_timeout_s
        courier = Courier(
            store=store,
            storage=storage,
            keys=keys,
            fetcher=fetcher,
            timeout_s=settings.webhook_timeout_s,
        )
        self._sender = Sender(courier.deliver, keep_s=settings.webhook_timeout_s)
        self._sweeper = Sweeper(
            store,
            storage,
            input_ttl_s=settings.input_ttl_s,
            stopping=self._stopping,
        )
        self._key_copies = KeyCopies(keys, storage, Installation(store.recovery, storage))

    def run(self, stop: Event) -> None:
        """Work until ``stop`` is set, then let the webhooks that are being sent come to an end."""
        self._stop = stop
        if not self._succeeds(self._store.check_policy):
            return
        _logger.info("ready")
        duties = (
            _Duty("dispatch", self.tick_dispatch),
            # Workers get the time to beat again before they are held for dead: at our own start,
            # and when Redis was away.
            _Duty("reap", self.tick_reap, settle_s=self._settings.lease_s),
            _Duty("deliveries", self.tick_deliveries),
            _Duty("expiry", self.tick_expiry),
            _Duty("gauges", self.tick_gauges, every_s=GAUGES_EVERY_S),
            _Duty("keys", self._key_copies.save, every_s=KEYS_EVERY_S),
            _Duty("manifests", self._sweeper.sweep_manifests, every_s=MANIFESTS_EVERY_S),
            _Duty("objects", self._sweeper.sweep_objects, every_s=self._settings.sweep_s),
        )
        threads = [Thread(target=self._repeat, args=[duty], name=duty.name) for duty in duties]
        for thread in threads:
            thread.start()
        stop.wait()
        for thread in threads:
            thread.join()
        self.close()

    def _succeeds(self, asking: Callable[[], None]) -> bool:
        """Ask Redis until it answers. False: told to stop meanwhile."""
        warned = False
        while not self._stop.is_set():
            try:
                asking()
            except Unavailable as error:
                if not warned:
                    _logger.warning("waiting: %s", error.detail)
                warned = True
                self._stop.wait(EVERY_S)
            else:
                return True
        return False

    def _stopping(self) -> bool:
        return self._stop.is_set()

    def close(self) -> None:
        """Wait for the webhooks that are being sent."""
        self._sender.close()

    # --- duties -----------------------------------------------------------------------------

    def tick_dispatch(self) -> int:
        """Ring for queued jobs that are due; the number of rings. Raises Unavailable."""
        rung = 0
        for job in _batches(self._store.due):
            try:
                self._doorbell.ring(job.id, job.model, job.priority)
            except Unavailable:
                DOORBELLS.labels("notifier", "failed").inc()
                raise
            DOORBELLS.labels("notifier", "rung").inc()
            rung += 1
        return rung

    def tick_reap(self) -> list[tuple[str, Status]]:
        """Take jobs from workers that fell silent; what became of each. Raises Unavailable."""
        reaped = list(_batches(self._store.reap))
        for job_id, status in reaped:
            JOBS_REAPED.labels(status).inc()
            _logger.warning("reaped: the job is %s now", status, extra={"job_id": job_id})
        return reaped

    def tick_deliveries(self) -> int:
        """Hand due webhooks to the sender; their number. Raises Unavailable."""
        taken = 0
        for _ in range(MAX_BATCHES):
            # A batch may be short while there is more: each receiver has only its share of it.
            full = self._sender.full()
            batch = self._store.outbox.take(BATCH, self._delivery_lease_s, full)
            self._sender.offer(batch)
            taken += len(batch)
            if not batch:
                break
        return taken

    def tick_expiry(self) -> int:
        """Erase what was kept long enough; the number of jobs. Raises Unavailable.

        Objects go first: if we die in between, the record still says what there is to delete.
        """
        erased = 0
        for job in _batches(self._store.expired):
            if self._stop.is_set():
                break
            for prefix in job_prefixes(job.tenant, job.id):
                self._storage.delete(stored.key for stored in self._storage.list(prefix))
            erased += self._store.expire(job.tenant, job.id)
        return erased

    def tick_gauges(self) -> None:
        """Publish how much there is of everything. Raises Unavailable."""
        for name, count in self._store.counts().items():
            if name.startswith("queued."):
                model, priority = name.removeprefix("queued.").rsplit(".", 1)
                QUEUED.labels(model, priority).set(count)
            elif name == "running":
                RUNNING.set(count)
            elif name == "deliveries_pending":
                DELIVERIES_PENDING.set(count)

    def _repeat(self, duty: _Duty) -> None:
        """Do a duty until told to stop. Nothing that goes wrong ends it; a change is logged."""
        well, pause_s = True, duty.settle_s
        while not self._stop.wait(pause_s):
            try:
                duty.tick()
            except Unavailable as error:
                if well:
                    _logger.warning("%s has to wait: %s", duty.name, error.detail)
                if duty.settle_s:
                    self._succeeds(self._store.ping)  # the settling begins when Redis is back
                well, pause_s = False, max(duty.every_s, duty.settle_s)
            except Exception:
                _logger.exception("%s failed", duty.name)
                well, pause_s = False, max(duty.every_s, duty.settle_s)
            else:
                if not well:
                    _logger.info("%s goes on", duty.name)
                well, pause_s = True, duty.every_s


def _batches(take: Callable[[int], Sequence[T]]) -> Iterator[T]:
    """All that is there now, fetched in batches; what is more than a round's share can wait."""
    for _ in range(MAX_BATCHES):
        batch = take(BATCH)
        yield from batch
        if len(batch) < BATCH:
            return


def build(settings: Settings) -> Notifier:
    """The composition root."""
    client = connect(settings)
    return Notifier(
        store=JobStore(client, settings),
        storage=ObjectStorage(settings),
        keys=KeyRing(client, settings.api_key_pepper),
        doorbell=Doorbell(make_celery(settings, role="notifier")),
        fetcher=Fetcher(allow_private=settings.allow_private_addresses),
        settings=settings,
    )


def stop_on_signals() -> Event:
    """Set by SIGTERM and SIGINT, if not by their handler: whom it interrupts may hold its lock."""
    stop, signals = Event(), SimpleQueue[int]()

    def wait() -> None:
        signals.get()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: signals.put(number))
    Thread(target=wait, name="signals", daemon=True).start()
    return stop


def main() -> None:
    """Run until SIGTERM or SIGINT. Exits with 2 for a wrong setting."""
    stop = stop_on_signals()
    try:
        settings = load_settings()
        configure_logging(settings, "notifier")
        notifier = build(settings)
        start_metrics_server(settings)
        notifier.run(stop)
    except SettingsInvalid as error:
        sys.stderr.write(f"notifier cannot start: {error.detail}\n")
        sys.exit(EXIT_SETTINGS)
