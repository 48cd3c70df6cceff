"""The rollout of a replaced file: how many live workers serve it already."""

from __future__ import annotations

import time

import click

from shared.errors import Unavailable
from shared.jobs.store import JobStore
from shared.jobs.workers import LiveWorker, Workers
from shared.settings import Settings

_LOOK_S = 1.0
_SHOWN = 5


def follow_rollout(settings: Settings, model: str, sha256: str, wait_s: float) -> bool:
    """Say how many live workers serve the file with this hash, and wait for the others.

    Returns whether all that serve the model serve this file. Without Redis it says nothing; raises
    Unavailable if it was to wait.
    """
    try:
        workers = JobStore.connect(settings).workers
        live = _serving(workers, model)
        if not live:
            return True
        return _follow(workers, live, model, sha256, wait_s)
    except Unavailable:
        if wait_s:
            raise
        return True


def _follow(
    workers: Workers, live: list[LiveWorker], model: str, sha256: str, wait_s: float
) -> bool:
    give_up_s, said = time.monotonic() + wait_s, ""
    while True:
        behind = [worker.name for worker in live if _sha256(worker, model) != sha256]
        words = f"{len(live) - len(behind)} of {len(live)} workers serve it ({sha256[:12]})"
        if words != said:
            click.echo(words, err=True)
            said = words
        if not behind:
            return True
        if time.monotonic() >= give_up_s:
            break
        time.sleep(_LOOK_S)
        live = _serving(workers, model)
    if wait_s:
        more = f" and {len(behind) - _SHOWN} more" if len(behind) > _SHOWN else ""
        names = ", ".join(behind[:_SHOWN]) + more
        click.echo(f"not after {wait_s:g} s: {names}; their logs say why", err=True)
    else:
        click.echo("the others follow by themselves; --wait SECONDS waits for them", err=True)
    return not wait_s


def _serving(workers: Workers, model: str) -> list[LiveWorker]:
    return [worker for worker in workers.live() if _sha256(worker, model)]


def _sha256(worker: LiveWorker, model: str) -> str | None:
    return next((each.sha256 for each in worker.models if each.name == model), None)
