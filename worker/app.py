"""The worker process: ``python -m worker.app``. Everything is built here, once.

It starts the engine process, which loads and warms the models. Meanwhile it checks Redis and
storage, and starts the decoder. Then it listens. SIGTERM drains it: it accepts no new job, and
running jobs finish within ``drain_s`` seconds or are released. This process imports no torch,
OpenCV, numpy or Pillow.
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
from shared.jobs.run_counters import zero_run_counters
from shared.jobs.store import JobStore
from shared.net.fetcher import Fetcher
from shared.provenance.signing_keys import SigningKey
from shared.queue.celery_queue import RESTORE_TASK, make_celery
from shared.settings import Settings, load_settings
from shared.stop_signals import in_thread
from shared.storage.bucket import ObjectStorage
from shared.telemetry import (
    MESSAGES_DISCARDED,
    configure_logging,
    flush_traces,
    observe_process,
    start_metrics_server,
)
from worker.decoder.decoder import Decoder, photo_limits
from worker.engine_process.batch_metrics import DeviceBatch
from worker.engine_process.supervisor import EngineSupervisor
from worker.jobs.activity import Activity
from worker.jobs.lease import Drain
from worker.jobs.pipeline import Pipeline
from worker.jobs.places import DevicePlaces, FetchPlaces
from worker.jobs.preflight import run_preflight
from worker.jobs.result_cache import ResultCache
from worker.jobs.runner import JobRunner
from worker.jobs.shadow_recorder import ShadowRecorder
from worker.jobs.thread_pool import JobThreadPool
from worker.jobs.traces import JobTraces

_log = logging.getLogger(__name__)
_ANNOUNCE_S = 5.0
_GRACE_S = 1.0  # after the time to drain, for jobs that are just stopping
_RELEASE_S = 2.0  # to release the jobs that still run
EXIT_CANNOT_START = 3
EXIT_AT_FAULT = 4

#: The function that loads the models in the engine process, or its ``module:function``.
LoadRestorers = str | Callable[[Settings], Mapping[str, object]]
LOAD_RESTORERS = "worker.load_models:load_restorers"


def build(
    settings: Settings, engine: EngineSupervisor, decoder: Decoder, traces: JobTraces
) -> JobRunner:
    """Build the job runner and everything that it uses."""
    store = JobStore.connect(settings)
    cache = ResultCache(store.runs, lambda: engine.models) if settings.result_cache else None
    return JobRunner(
        name=f"{socket.gethostname()}-{os.getpid()}",
        store=store,
        pipeline=Pipeline(
            storage=ObjectStorage(settings),
            fetcher=Fetcher(allow_private=settings.allow_private_addresses),
            decoder=decoder,
            engine=engine,
            max_bytes=settings.max_input_bytes,
            fetch_timeout_s=settings.fetch_timeout_s,
            fetch_head_timeout_s=settings.fetch_head_timeout_s,
            fetch_min_bytes_per_s=settings.fetch_min_bytes_per_s,
            signing_key=SigningKey.of(settings),
            cache=cache,
        ),
        engine=engine,
        drain=Drain(settings.drain_s),
        beat_s=settings.beat_s,
        device=DevicePlaces(settings.jobs_in_flight),
        fetches=FetchPlaces.of(settings),
        traces=traces,
    )


def serve(settings: Settings, load_restorers: LoadRestorers = LOAD_RESTORERS) -> None:
    """Run until SIGTERM. Exits with 4 if this worker, not its jobs, causes the crashes.

    The engine process imports and calls ``load_restorers``. Raises FacemendError if the worker
    cannot start.
    """
    activity, traces = Activity(settings.device), JobTraces()

    def on_batch(batch: DeviceBatch) -> None:
        activity.count(batch)
        traces.record_batch(batch)

    shadow = ShadowRecorder(settings)
    engine = EngineSupervisor(settings, address_of(load_restorers), on_batch, shadow.record)
    decoder = Decoder(photo_limits(settings))
    try:
        engine.start()
        run_preflight(settings)  # while the models load
        decoder.start()
        engine.wait_until_ready()
        start_metrics_server(settings)
        worker = build(settings, engine, decoder, traces)
        zero_run_counters(model.name for model in engine.models)
        listen(worker, activity, settings)
    finally:
        engine.close()
        decoder.close()
        flush_traces()
    if engine.lost.is_set():
        _log.error("this worker is at fault, not its jobs: it exits")
        sys.exit(EXIT_AT_FAULT)


def address_of(function: LoadRestorers) -> str:
    """Return the ``module:function`` that another process can import. Raises SettingsInvalid."""
    if isinstance(function, str):
        return function
    module, name = function.__module__, function.__qualname__
    if module == "__main__" or "." in name or "<" in name:
        raise SettingsInvalid(f"{module}:{name} cannot be imported by the engine process")
    return f"{module}:{name}"


def _celery(settings: Settings, worker: JobRunner) -> Celery:
    names = tuple(model.name for model in worker.engine.models)
    celery = make_celery(settings, role="worker", models=names)

    def restore(*args: object, **fields: object) -> None:
        """Handle a ring of the doorbell; ignore messages of another version."""
        if len(args) == 1 and isinstance(args[0], str) and not fields:
            worker.restore(args[0])
        else:
            # The message is not requeued, or it would come back at once. The job stays queued, and
            # the dispatcher rings again.
            MESSAGES_DISCARDED.labels(reason="another version").inc()
            _log.warning("a message of another version is ignored")

    celery.task(name=RESTORE_TASK)(restore)
    return celery


def listen(worker: JobRunner, activity: Activity, settings: Settings) -> None:
    """Run jobs until SIGTERM, or until the engine is lost."""
    exit_in_time = in_thread(lambda: _exit_in_time(worker, settings.drain_s))
    say = in_thread(
        lambda: _log.info("draining: no new jobs, %g s for running jobs", settings.drain_s)
    )

    def begin_drain(**_: object) -> None:  # in the signal handler
        worker.drain.begin()
        exit_in_time()
        say()

    def announce(**_: object) -> None:
        _log.info("ready: %s", ", ".join(model.name for model in worker.engine.models))
        threading.Thread(target=_announce, args=(worker, activity), daemon=True).start()
        threading.Thread(target=_withdraw_without_engine, args=(worker,), daemon=True).start()

    setup_logging.connect(_keep_our_logging, weak=False)
    worker_ready.connect(announce, weak=False)
    worker_shutting_down.connect(begin_drain, weak=False)
    worker_process = _celery(settings, worker).Worker(
        hostname=worker.name,
        pool_cls=JobThreadPool.for_places(worker.device),
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,  # an event that nobody reads, on a connection of its own
        quiet=True,
    )
    worker_process.start()
    worker.drain.begin()
    worker.wait()  # Celery does not know the jobs whose photos were at URLs


def _keep_our_logging(**_: object) -> None:
    """Celery configures logging unless this signal has a receiver."""


def _withdraw_without_engine(worker: JobRunner) -> None:
    worker.engine.lost.wait()
    worker.withdraw()
    os.kill(os.getpid(), signal.SIGTERM)


def _exit_in_time(worker: JobRunner, drain_s: float) -> None:
    """Exit after the time to drain, even if a job or the log still waits for something."""

    def release_and_say() -> None:
        worker.release_all()
        _log.warning("exited without waiting any longer")

    time.sleep(drain_s + _GRACE_S)
    release = threading.Thread(target=release_and_say, daemon=True)
    release.start()
    release.join(_RELEASE_S)
    os._exit(EXIT_AT_FAULT if worker.engine.lost.is_set() else 0)


def _announce(worker: JobRunner, activity: Activity) -> None:
    """Announce the models and the state of this worker every few seconds, until it drains."""
    while not worker.drain.begun:
        try:
            state = activity.state(worker.device, worker.fetches)
            worker.store.workers.announce(
                worker.name,
                worker.engine.models,
                worker.device.count,
                state,
                worker.store.settings.pool,
            )
        except Unavailable as error:
            _log.warning("not announced: %s", error.detail)
        time.sleep(_ANNOUNCE_S)


@click.command()
@click.option("--ping", is_flag=True, help="Is a worker on this host alive? Exit 0 or 1.")
def main(ping: bool) -> None:
    """Run jobs until SIGTERM, which drains and then exits."""
    try:
        settings = load_settings()
        if ping:
            alive = JobStore.connect(settings).workers.alive(socket.gethostname())
            sys.exit(0 if alive else 1)
        configure_logging(settings, "worker")
        observe_process(settings, "worker")
        serve(settings)
    except FacemendError as error:
        click.echo(f"worker cannot start: {error.detail}", err=True)
        sys.exit(2 if isinstance(error, SettingsInvalid) else EXIT_CANNOT_START)


if __name__ == "__main__":
    main()
