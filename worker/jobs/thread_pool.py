"""The threads in which a worker's jobs run, as Celery knows them."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from celery.concurrency.thread import TaskPool
from kombu.asynchronous import Hub


class Pool(TaskPool):
    """Celery's pool of threads, whose free places are taken at once.

    With all places taken, Celery's event loop listens to no bell. A thread that is done does not
    wake it, so it would sleep on, for up to a second, while the device runs out of photos.
    """

    _hub: Hub | None = None

    def register_with_event_loop(self, hub: Hub) -> None:
        """Called by Celery before its loop starts, and again after each new connection."""
        self._hub = hub

    def on_apply(self, *args: Any, **kwargs: Any) -> Any:
        result = super().on_apply(*args, **kwargs)
        result.f.add_done_callback(self._wake)  # when Celery counts the place as free
        return result

    def _wake(self, _: Future[Any]) -> None:
        if self._hub is not None:
            self._hub.call_soon(_look_around)


def _look_around() -> None:
    """Nothing: before it sleeps again, the loop asks for a message if a place is free."""
