"""The worker process: ``python -m worker.app``. Everything is wired here, once.

It checks what it stands on (settings, Redis policy, storage, weights), loads and warms the models,
and only then listens. SIGTERM drains: nothing new is taken, and what is in flight is finished
within ``drain_s`` or given back.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

import click
from celery.signals import setup_logging, worker_ready, worker_shutting_down

from shared.errors import FacemendError, SettingsInvalid, Unavailable
from shared.fetch import Fetcher
from shared.queue import RESTORE_TASK, make_celery
from shared.settings import Settings, load_settings
from shared.storage import ObjectStorage
from shared.store import JobStore, ServedModel
from shared.telemetry import (
    BATCH_FACES,
    BATCH_WAIT_SECONDS,
    configure_logging,
    start_metrics_server,
)
from worker.engine import Restorer
from worker.lease import Drain
from worker.pipeline import Pipeline
from worker.tasks import Worker
from worker.wiring import limits_of, load_model

_log = logging.getLogger(__name__)
_WAIT_FOR_PARTS_S = 30.0
_ANNOUNCE_S = 5.0
EXIT_CANNOT_START = 3


def build(settings: Settings, restorers: dict[str, Restorer]) -> Worker:
    """The composition root."""
    return Worker(
        name=f"{socket.gethostname()}-{os.getpid()}",
        store=JobStore.connect(settings),
        pipeline=Pipeline(
            storage=ObjectStorage(settings),
            fetcher=Fetcher(allow_private=settings.allow_private_addresses),
            limits=limits_of(settings),
            fetch_timeout_s=settings.fetch_timeout_s,
        ),
        restorers=restorers,
        drain=Drain(settings.drain_s),
        beat_s=settings.beat_s,
    )


def load_restorers(settings: Settings) -> dict[str, Restorer]:
    """Load and warm each served model; raises ModelUnavailable in words."""
    restorers = {}
    for name in settings.served_models or (settings.default_model,):
        restorer = load_model(settings, name, on_batch=partial(count_batch, name))
        restorer.warm_up()
        restorers[name] = restorer
    return restorers


def count_batch(model: str, waits_s: Sequence[float]) -> None:
    """Put a batch of these waits into the metrics."""
    BATCH_FACES.labels(model).observe(len(waits_s))
    for wait_s in waits_s:
        BATCH_WAIT_SECONDS.labels(model).observe(wait_s)


def check_ground(settings: Settings) -> None:
    """Refuse to run on a Redis that forgets or a storage that is not there."""
    store, storage = JobStore.connect(settings), ObjectStorage(settings)
    _wait_for(store.ping)
    store.check_policy()
    _wait_for(storage.ping)


def _wait_for(ping: Callable[[], None]) -> None:
    give_up_s = time.monotonic() + _WAIT_FOR_PARTS_S
    while True:
        try:
            return ping()
        except Unavailable:
            if time.monotonic() > give_up_s:
                raise
            time.sleep(0.5)


def serve(settings: Settings) -> None:
    """Run until told to stop."""
    check_ground(settings)
    worker = build(settings, restorers := load_restorers(settings))
    start_metrics_server(settings)
    celery = make_celery(settings, role="worker", models=tuple(restorers))
    celery.task(name=RESTORE_TASK)(worker.restore)

    def begin_drain(**_: object) -> None:
        _log.info("draining: nothing new is taken, %g s for what is in flight", settings.drain_s)
        worker.drain.begin()

    def announce(**_: object) -> None:
        _log.info("ready: %s", ", ".join(restorers))
        threading.Thread(target=_announce, args=(worker, restorers), daemon=True).start()

    setup_logging.connect(_keep_our_logging, weak=False)
    worker_ready.connect(announce, weak=False)
    worker_shutting_down.connect(begin_drain, weak=False)
    worker_process = celery.Worker(
        hostname=worker.name,
        pool_cls="threads",
        without_gossip=True,
        without_mingle=True,
        quiet=True,
    )
    worker_process.start()


def _keep_our_logging(**_: object) -> None:
    """Celery sets up logging of its own, unless somebody listens to this signal."""


def _announce(worker: Worker, restorers: dict[str, Restorer]) -> None:
    """Say every few seconds what this worker serves, until it drains."""
    while not worker.drain.begun:
        models = [
            ServedModel(
                name=info.name,
                sha256=info.sha256,
                size_px=info.size_px,
                licence=info.licence,
                precision=info.precision,
                backend=info.backend,
                ms_per_face=info.ms_per_face,
                task=info.task,
            )
            for info in (restorer.info for restorer in restorers.values())
        ]
        try:
            worker.store.announce(worker.name, models)
        except Unavailable as error:
            _log.warning("not announced: %s", error.detail)
        time.sleep(_ANNOUNCE_S)


@click.command()
@click.option("--ping", is_flag=True, help="Is a worker of this host alive? Exit 0 or 1.")
def main(ping: bool) -> None:
    """Restore jobs until told to stop (SIGTERM drains, then exits)."""
    try:
        settings = load_settings()
        if ping:
            alive = JobStore.connect(settings).worker_alive(socket.gethostname())
            sys.exit(0 if alive else 1)
        configure_logging(settings, "worker")
        serve(settings)
    except FacemendError as error:
        click.echo(f"worker cannot start: {error.detail}", err=True)
        sys.exit(2 if isinstance(error, SettingsInvalid) else EXIT_CANNOT_START)


if __name__ == "__main__":
    main()
