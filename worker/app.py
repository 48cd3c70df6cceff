"""The worker process: ``python -m worker.app``. Everything is wired here, once.

It checks what it stands on (settings, Redis policy, storage, weights), starts the decoder and the
engine's process, which loads and warms the models, and only then listens. SIGTERM drains: nothing
new is taken, and what is in flight is finished within ``drain_s`` or given back. No torch, OpenCV,
numpy or Pillow comes into this process.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping

import click
from celery import Celery
from celery.signals import setup_logging, worker_ready, worker_shutting_down

from shared.errors import FacemendError, SettingsInvalid, Unavailable
from shared.jobs.store import JobStore
from shared.net.fetcher import Fetcher
from shared.queue.celery_queue import RESTORE_TASK, make_celery
from shared.settings import Settings, load_settings
from shared.storage.bucket import ObjectStorage
from shared.telemetry import configure_logging, start_metrics_server
from worker.decoder.decoder import Decoder
from worker.decoder.photo_limits import limits_of
from worker.engine_process import batch_metrics as batches
from worker.engine_process.supervisor import EngineProcess
from worker.jobs.lease import Drain
from worker.jobs.pipeline import Pipeline
from worker.jobs.preflight import check_ground
from worker.jobs.runner import Worker
from worker.jobs.thread_pool import Pool

_log = logging.getLogger(__name__)
_ANNOUNCE_S = 5.0
_GRACE_S = 1.0  # after the time to drain, for those that have heard of it
_LAST_S = 2.0  # to give back what is still held
EXIT_CANNOT_START = 3
EXIT_AT_FAULT = 4

#: What loads the models, in the engine's process: ``module:function`` or the function itself.
LoadRestorers = str | Callable[[Settings], Mapping[str, object]]
LOAD_RESTORERS = "worker.load_models:load_restorers"


def build(settings: Settings, engine: EngineProcess, decoder: Decoder) -> Worker:
    """The composition root."""
    return Worker(
        name=f"{socket.gethostname()}-{os.getpid()}",
        store=JobStore.connect(settings),
        pipeline=Pipeline(
            storage=ObjectStorage(settings),
            fetcher=Fetcher(allow_private=settings.allow_private_addresses),
            decoder=decoder,
            engine=engine,
            max_bytes=settings.max_input_bytes,
            fetch_timeout_s=settings.fetch_timeout_s,
        ),
        engine=engine,
        drain=Drain(settings.drain_s),
        beat_s=settings.beat_s,
    )


def serve(settings: Settings, load_restorers: LoadRestorers = LOAD_RESTORERS) -> None:
    """Run until told to stop; exits with 4 when this worker is found to be at fault.

    ``load_restorers`` is imported and called by the engine's process. Raises FacemendError when it
    cannot start.
    """
    check_ground(settings)
    engine = EngineProcess(settings, address_of(load_restorers), batches.count)
    decoder = Decoder(limits_of(settings))
    try:
        decoder.start()
        engine.start()
        start_metrics_server(settings)
        worker = build(settings, engine, decoder)
        _listen(worker, _celery(settings, worker), settings)
    finally:
        engine.close()
        decoder.close()
    if engine.lost.is_set():
        _log.error("this worker is at fault, not its jobs: it takes itself out")
        sys.exit(EXIT_AT_FAULT)


def address_of(function: LoadRestorers) -> str:
    """``module:function``, from which another process can import it. Raises SettingsInvalid."""
    if isinstance(function, str):
        return function
    module, name = function.__module__, function.__qualname__
    if module == "__main__" or "." in name or "<" in name:
        raise SettingsInvalid(f"{module}:{name} cannot be imported by the engine's process")
    return f"{module}:{name}"


def _celery(settings: Settings, worker: Worker) -> Celery:
    names = tuple(model.name for model in worker.engine.models)
    celery = make_celery(settings, role="worker", models=names)

    def restore(*args: object, **fields: object) -> None:
        """Answer a ring; one of a later version is left to workers that understand it."""
        if len(args) == 1 and isinstance(args[0], str) and not fields:
            worker.restore(args[0])
        else:
            # Not put back at once: it would come round and round. The job stays queued and its
            # bell rings again.
            _log.warning("a message of another version is left to others")

    celery.task(name=RESTORE_TASK)(restore)
    return celery


def _listen(worker: Worker, celery: Celery, settings: Settings) -> None:
    """Take jobs until SIGTERM, or until the worker itself wants to leave."""

    def begin_drain(**_: object) -> None:
        _log.info("draining: nothing new is taken, %g s for what is in flight", settings.drain_s)
        worker.drain.begin()
        threading.Thread(target=_end, args=(worker, settings.drain_s), daemon=True).start()

    def announce(**_: object) -> None:
        _log.info("ready: %s", ", ".join(model.name for model in worker.engine.models))
        threading.Thread(target=_announce, args=(worker,), daemon=True).start()
        threading.Thread(target=_leave_without_engine, args=(worker,), daemon=True).start()

    setup_logging.connect(_keep_our_logging, weak=False)
    worker_ready.connect(announce, weak=False)
    worker_shutting_down.connect(begin_drain, weak=False)
    worker_process = celery.Worker(
        hostname=worker.name,
        pool_cls=Pool,
        without_gossip=True,
        without_mingle=True,
        quiet=True,
    )
    worker_process.start()


def _keep_our_logging(**_: object) -> None:
    """Celery sets up logging of its own, unless somebody listens to this signal."""


def _leave_without_engine(worker: Worker) -> None:
    worker.engine.lost.wait()
    worker.leave()
    os.kill(os.getpid(), signal.SIGTERM)


def _end(worker: Worker, drain_s: float) -> None:
    """End the process in time, whatever some job still waits for."""
    time.sleep(drain_s + _GRACE_S)
    last = threading.Thread(target=worker.let_go, daemon=True)
    last.start()
    last.join(_LAST_S)
    _log.warning("ended without waiting any longer")
    os._exit(EXIT_AT_FAULT if worker.engine.lost.is_set() else 0)


def _announce(worker: Worker) -> None:
    """Say every few seconds what this worker serves, until it drains."""
    while not worker.drain.begun:
        try:
            worker.store.announce(worker.name, worker.engine.models)
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
