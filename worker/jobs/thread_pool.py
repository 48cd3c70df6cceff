"""The thread pool of a worker's jobs, for Celery."""

from __future__ import annotations

from typing import Any

from celery.concurrency.thread import TaskPool
from kombu.asynchronous import Hub

from worker.jobs.places import DevicePlaces


class JobThreadPool(TaskPool):
    """Celery's thread pool, which fetches the next message as soon as a thread is free.

    While all threads are busy, Celery's event loop fetches no message. A thread that becomes free
    does not wake the loop, so the loop could sleep for a second while the device has no work.

    Jobs whose photo was fetched from a URL use the places of the device too, but no thread of this
    pool. ``places`` says how many messages the worker may have meanwhile.
    """

    places: DevicePlaces
    _hub: Hub | None = None

    @classmethod
    def for_places(cls, places: DevicePlaces) -> type[JobThreadPool]:
        """Return the class for Celery, which makes the pool itself."""
        return type("JobThreadPoolOfWorker", (cls,), {"places": places})

    @property
    def num_processes(self) -> int:
        """How many messages Celery may have at once; it asks before it fetches one."""
        return self.places.for_doorbells

    def register_with_event_loop(self, hub: Hub) -> None:
        """Called by Celery before its loop starts, and again after each new connection."""
        self._hub = hub
        self.places.on_free = self._wake

    def on_apply(self, *args: Any, **kwargs: Any) -> Any:
        result = super().on_apply(*args, **kwargs)
        result.f.add_done_callback(lambda _: self._wake())  # when Celery counts the thread as free
        return result

    def _wake(self) -> None:
        if self._hub is not None:
            self._hub.call_soon(_do_nothing)


def _do_nothing() -> None:
    """Before the loop sleeps again, it fetches a message if a thread is free."""
