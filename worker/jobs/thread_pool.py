"""The thread pool of a worker's jobs, for Celery."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from celery.concurrency.thread import TaskPool
from kombu.asynchronous import Hub


class JobThreadPool(TaskPool):
    """Celery's thread pool, which fetches the next message as soon as a thread is free.

    While all threads are busy, Celery's event loop fetches no message. A thread that becomes free
    does not wake the loop, so the loop could sleep for a second while the device has no work.
    """

    _hub: Hub | None = None

    def register_with_event_loop(self, hub: Hub) -> None:
        """Called by Celery before its loop starts, and again after each new connection."""
        self._hub = hub

    def on_apply(self, *args: Any, **kwargs: Any) -> Any:
        result = super().on_apply(*args, **kwargs)
        result.f.add_done_callback(self._wake)  # when Celery counts the thread as free
        return result

    def _wake(self, _: Future[Any]) -> None:
        if self._hub is not None:
            self._hub.call_soon(_do_nothing)


def _do_nothing() -> None:
    """Before the loop sleeps again, it fetches a message if a thread is free."""
