"""One thread owns the device: faces of all photos in flight share its batches."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from shared.errors import ModelUnavailable, OutOfMemory
from worker.engine.images import Pixels

#: A restored crop, or None where the network's answer was not finite.
Answer = Pixels | None
#: Runs crops of one seed through the network; answers in order.
Run = Callable[[Sequence[Pixels], int], Sequence[Answer]]


@dataclass(frozen=True, slots=True, eq=False)  # arrays do not compare
class _Request:
    crop: Pixels
    seed: int
    came_at_s: float
    future: Future[Answer] = field(default_factory=Future)


class Batcher:
    """Forms batches of up to ``max_batch`` crops; the first one waits at most ``max_wait_ms``."""

    def __init__(
        self,
        run: Run,
        *,
        max_batch: int,
        max_wait_ms: float,
        is_out_of_memory: Callable[[Exception], bool],
    ) -> None:
        self._run, self._is_out_of_memory = run, is_out_of_memory
        self._max_batch, self._max_wait_s = max_batch, max_wait_ms / 1000
        self._waiting: deque[_Request] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    def submit(self, crop: Pixels, seed: int) -> Future[Answer]:
        """Queue a crop; the future answers with the restored one or raises.

        OutOfMemory when the device cannot hold even this crop alone; ModelUnavailable once closed.
        """
        request = _Request(crop, seed, time.monotonic())
        with self._changed:
            if self._closed:
                raise ModelUnavailable("the model is closed")
            self._waiting.append(request)
            self._changed.notify()
        return request.future

    def close(self) -> None:
        """End the thread; crops still waiting are refused."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _work(self) -> None:
        while batch := self._next_batch():
            live = [each for each in batch if each.future.set_running_or_notify_cancel()]
            if live:
                self._answer(live)
        for request in self._waiting:
            if request.future.set_running_or_notify_cancel():
                request.future.set_exception(ModelUnavailable("the model is closed"))

    def _next_batch(self) -> list[_Request]:
        """Requests of one seed, oldest first; empty when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return []
            first = self._waiting[0]
            patience_s = first.came_at_s + self._max_wait_s - time.monotonic()
            self._changed.wait_for(
                lambda: self._closed or len(self._of_seed(first.seed)) >= self._max_batch,
                timeout=max(0.0, patience_s),
            )
            if self._closed:
                return []
            batch = self._of_seed(first.seed)[: self._max_batch]
            for request in batch:
                self._waiting.remove(request)
            return batch

    def _of_seed(self, seed: int) -> list[_Request]:
        return [request for request in self._waiting if request.seed == seed]

    def _answer(self, batch: list[_Request]) -> None:
        try:
            results = self._run([request.crop for request in batch], batch[0].seed)
        except Exception as error:  # noqa: BLE001 - handed on to those who wait
            self._refuse(batch, error)
            return
        for request, result in zip(batch, results, strict=True):
            request.future.set_result(result)

    def _refuse(self, batch: list[_Request], error: Exception) -> None:
        """Halve a batch that was too large for the device; anything else goes to all of it."""
        if not self._is_out_of_memory(error):
            for request in batch:
                request.future.set_exception(error)
        elif len(batch) == 1:
            batch[0].future.set_exception(OutOfMemory("one face alone does not fit"))
        else:
            middle = len(batch) // 2
            self._answer(batch[:middle])
            self._answer(batch[middle:])
