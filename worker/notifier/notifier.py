"""The notifier: the periodic tasks of the service, ``python -m worker.notifier``.

Every second it rings for jobs that are due, requeues the jobs of dead workers, sends webhooks, and
erases expired jobs. Several notifiers may run: each step is claimed in Redis, and another notifier
repeats the step of a dead one. Each task has its own thread, so that none waits for another.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Event, Thread
from typing import TypeVar

from prometheus_client import REGISTRY

from shared.batches.store import BatchStore
from shared.errors import SettingsInvalid, Unavailable
from shared.jobs.job import Status
from shared.jobs.run_counters import zero_notifier_counters
from shared.jobs.store import JobStore
from shared.manifests.installation import Installation
from shared.net.fetcher import Fetcher
from shared.queue.celery_queue import Doorbell, make_celery
from shared.redis.client import connect
from shared.redis.scripts import Scripts
from shared.settings import Settings, load_settings
from shared.stop_signals import stop_event
from shared.storage.bucket import ObjectStorage
from shared.telemetry import (
    DOORBELLS,
    JOBS_REAPED,
    configure_logging,
    flush_traces,
    observe_process,
    start_metrics_server,
)
from shared.tenants.api_keys import KeyRing
from shared.webhooks.outbox import Outbox
from worker.notifier.batch_erasure import BatchErasure
from worker.notifier.batch_results import BatchResults
from worker.notifier.delivery_scheduler import DeliveryScheduler
from worker.notifier.expiry import Expiry
from worker.notifier.gauges import ServiceGauges
from worker.notifier.key_backup import KeyBackup
from worker.notifier.sweeper import Sweeper
from worker.notifier.webhook_delivery import WebhookDelivery

_logger = logging.getLogger(__name__)
BATCH = 100
MAX_BATCHES = 20
EVERY_S = 1.0
GAUGES_EVERY_S = 5.0
KEYS_EVERY_S = 5.0
MANIFESTS_EVERY_S = 60.0
#: Sweeps list the whole bucket, so one notifier does them. Another one takes over after this time.
SWEEP_LEASE_S = 20.0
EXIT_SETTINGS = 2

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _PeriodicTask:
    """``grace_s``: the wait before the first run and after a failure."""

    name: str
    tick: Callable[[], object]
    every_s: float = EVERY_S
    grace_s: float = 0.0


class Notifier:
    """``tick_*`` run a task once; ``run`` repeats all tasks until it is stopped."""

    def __init__(
        self,
        *,
        store: JobStore,
        outbox: Outbox,
        storage: ObjectStorage,
        keys: KeyRing,
        doorbell: Doorbell,
        fetcher: Fetcher,
        settings: Settings,
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._storage = storage
        self._doorbell = doorbell
        self._settings = settings
        self._stop = Event()
        self.gauges = ServiceGauges(store, settings)
        # A delivery is leased for three times the longest attempt: a third to wait for its turn, a
        # third for the attempt, and a third to record its result.
        self._delivery_lease_s = 3 * settings.webhook_timeout_s
        webhook_delivery = WebhookDelivery(
            store=store,
            outbox=outbox,
            storage=storage,
            keys=keys,
            fetcher=fetcher,
            timeout_s=settings.webhook_timeout_s,
        )
        self._scheduler = DeliveryScheduler(
            webhook_delivery.deliver, keep_s=settings.webhook_timeout_s
        )
        self._sweeping = store.leadership("sweep", SWEEP_LEASE_S)
        self._sweeper = Sweeper(
            store,
            storage,
            input_ttl_s=settings.input_ttl_s,
            upload_ttl_s=settings.upload_ttl_s,
            stopping=lambda: self._stop.is_set() or not self._sweeping.held,
        )
        batches = BatchStore.beside(store)
        self._batch_results = BatchResults(
            batches, storage, archives=settings.batch_archives, stopping=self._stopping
        )
        self._batch_erasure = BatchErasure(batches, store, storage, stopping=self._stopping)
        self._expiry = Expiry(store, storage, stopping=self._stopping)
        self._key_backup = KeyBackup(keys, storage, Installation(store.recovery, storage))

    def run(self, stop: Event) -> None:
        """Run until ``stop`` is set, then wait for the webhooks that are being sent."""
        self._stop = stop
        if not self._retry_until_available(self._store.check_policy):
            return
        REGISTRY.register(self.gauges)
        _logger.info("ready")
        tasks = (
            _PeriodicTask("dispatch", self.tick_dispatch),
            # Workers have this time to renew their leases after our start, and after Redis was
            # away, before they count as dead.
            _PeriodicTask("reap", self.tick_reap, grace_s=self._settings.lease_s),
            _PeriodicTask("deliveries", self.tick_deliveries),
            _PeriodicTask("expiry", self._expiry.erase_expired),
            _PeriodicTask("batch results", self._batch_results.store_all),
            _PeriodicTask("batch erasure", self._batch_erasure.run),
            _PeriodicTask("gauges", self.tick_gauges, every_s=GAUGES_EVERY_S),
            _PeriodicTask("keys", self._key_backup.save, every_s=KEYS_EVERY_S),
            _PeriodicTask("leadership", self._sweeping.hold, every_s=SWEEP_LEASE_S / 4),
            _PeriodicTask("manifests", self.sweep_manifests, every_s=MANIFESTS_EVERY_S),
            _PeriodicTask("objects", self.sweep_objects, every_s=self._settings.sweep_s),
        )
        threads = [Thread(target=self._repeat, args=[task], name=task.name) for task in tasks]
        for thread in threads:
            thread.start()
        stop.wait()
        for thread in threads:
            thread.join()
        self.close()
        REGISTRY.unregister(self.gauges)

    def _retry_until_available(self, call: Callable[[], None]) -> bool:
        """Call until Redis is available. Returns False if stopped meanwhile."""
        warned = False
        while not self._stop.is_set():
            try:
                call()
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
        """Wait for the webhooks that are being sent, and leave the gauges to other notifiers."""
        self._scheduler.close()
        flush_traces()
        self.gauges.close()
        self._sweeping.give_back()

    # --- tasks ------------------------------------------------------------------------------

    def tick_dispatch(self) -> int:
        """Ring for queued jobs that are due; return the number of rings. Raises Unavailable."""
        sent = 0
        for job in _batches(self._store.runs.due):
            try:
                self._doorbell.ring(job.id, job.queue)
            except Unavailable:
                DOORBELLS.labels("notifier", "failed").inc()
                raise
            DOORBELLS.labels("notifier", "sent").inc()
            sent += 1
        return sent

    def tick_reap(self) -> list[tuple[str, Status]]:
        """Requeue or fail the jobs of dead workers; return their new states. Raises Unavailable."""
        reaped = list(_batches(self._store.runs.reap))
        for job_id, status in reaped:
            JOBS_REAPED.labels(status).inc()
            fields = self._store.log_fields(job_id)
            _logger.warning("reaped: the job is %s now", status, extra=fields)
        return reaped

    def tick_deliveries(self) -> int:
        """Schedule due webhooks; return their number. Raises Unavailable."""
        taken = 0
        for _ in range(MAX_BATCHES):
            # A short batch does not mean that no more are due: each receiver has only its share.
            full = self._scheduler.full_lanes()
            batch = self._outbox.take(BATCH, self._delivery_lease_s, full)
            self._scheduler.schedule(batch)
            taken += len(batch)
            if not batch:
                break
        return taken

    def sweep_manifests(self) -> int:
        """Sweep manifests if this notifier leads; see ``Sweeper``. Raises Unavailable."""
        return self._sweeper.sweep_manifests() if self._sweeping.hold() else 0

    def sweep_objects(self) -> int:
        """Sweep objects if this notifier leads; see ``Sweeper``. Raises Unavailable."""
        return self._sweeper.sweep_objects() if self._sweeping.hold() else 0

    def tick_gauges(self) -> None:
        """Count queue, running jobs and deliveries again for the gauges. Raises Unavailable."""
        self.gauges.refresh()

    def _repeat(self, task: _PeriodicTask) -> None:
        """Repeat a task until stopped. No error ends it; a change is logged."""
        healthy, pause_s = True, task.grace_s
        while not self._stop.wait(pause_s):
            try:
                task.tick()
            except Unavailable as error:
                if healthy:
                    _logger.warning("%s is postponed: %s", task.name, error.detail)
                if task.grace_s:
                    self._retry_until_available(
                        self._store.ping
                    )  # the grace begins when Redis is back
                healthy, pause_s = False, max(task.every_s, task.grace_s)
            except Exception:
                _logger.exception("%s failed", task.name)
                healthy, pause_s = False, max(task.every_s, task.grace_s)
            else:
                if not healthy:
                    _logger.info("%s works again", task.name)
                healthy, pause_s = True, task.every_s


def _batches(take: Callable[[int], Sequence[T]]) -> Iterator[T]:
    """Yield everything that is due, in batches, up to the limit of one round."""
    for _ in range(MAX_BATCHES):
        batch = take(BATCH)
        yield from batch
        if len(batch) < BATCH:
            return


def build(settings: Settings) -> Notifier:
    """Build the notifier and everything that it uses."""
    client = connect(settings)
    scripts = Scripts(client)
    return Notifier(
        store=JobStore(scripts, settings),
        outbox=Outbox(scripts),
        storage=ObjectStorage(settings),
        keys=KeyRing(scripts, settings.api_key_pepper),
        doorbell=Doorbell(make_celery(settings, role="notifier")),
        fetcher=Fetcher(allow_private=settings.allow_private_addresses),
        settings=settings,
    )


def main() -> None:
    """Run until SIGTERM or SIGINT. Exits with 2 for a wrong setting."""
    with stop_event() as stop:
        try:
            settings = load_settings()
            configure_logging(settings, "notifier")
            observe_process(settings, "notifier")
            zero_notifier_counters()
            notifier = build(settings)
            start_metrics_server(settings)
            notifier.run(stop)
        except SettingsInvalid as error:
            sys.stderr.write(f"notifier cannot start: {error.detail}\n")
            sys.exit(EXIT_SETTINGS)
