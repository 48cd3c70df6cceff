"""The batcher: one thread owns the device, and the faces of all photos share its batches."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from shared.errors import DeadlineExceeded, ModelUnavailable, OutOfMemory
from worker.engine.batching.batch_report import BatchReport, current_owner
from worker.engine.gpen.controls import DEFAULT_CONTROLS, GeneratorControls
from worker.imaging.decode import Pixels

#: A restored crop, uint8 RGB (S, S, 3), or None if the network's output was not finite.
RestoredCrop = Pixels | None
#: Runs crops with one seed and one set of controls through the network; keeps their order.
Run = Callable[[Sequence[Pixels], int, GeneratorControls], Sequence[RestoredCrop]]
#: Receives each batch that has run.
OnBatch = Callable[[BatchReport], None]

#: Crops that may wait for each place in a batch; more would only need memory.
_WAITING_PER_PLACE = 8


@dataclass(frozen=True, slots=True, eq=False)  # arrays do not compare
class _Request:
    crop: Pixels
    draw: tuple[int, GeneratorControls]
    came_at_s: float
    deadline_s: float | None
    owner: str
    future: Future[RestoredCrop] = field(default_factory=Future)

    def is_late(self, now_s: float) -> bool:
        return self.deadline_s is not None and now_s >= self.deadline_s


class Batcher:
    """Forms batches of up to ``max_batch`` crops; the first crop waits at most ``max_wait_ms``.

    The queue is bounded: `submit` blocks until it has room.
    """

    def __init__(
        self,
        run: Run,
        *,
        max_batch: int,
        max_wait_ms: float,
        is_out_of_memory: Callable[[Exception], bool],
        on_batch: OnBatch = lambda _report: None,
    ) -> None:
        self._run, self._is_out_of_memory, self._on_batch = run, is_out_of_memory, on_batch
        self._max_batch, self._max_wait_s = max_batch, max_wait_ms / 1000
        self._waiting: deque[_Request] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    @property
    def max_batch(self) -> int:
        return self._max_batch

    @max_batch.setter
    def max_batch(self, value: int) -> None:
        with self._changed:
            self._max_batch = value
            self._changed.notify_all()

    @property
    def max_waiting(self) -> int:
        """The largest number of crops in the queue."""
        return self._max_batch * _WAITING_PER_PLACE

    def submit(
        self,
        crop: Pixels,
        seed: int = 0,
        controls: GeneratorControls = DEFAULT_CONTROLS,
        *,
        deadline_s: float | None = None,
    ) -> Future[RestoredCrop]:
        """Queue a crop, uint8 RGB (S, S, 3), as soon as there is room; return its future.

        The future raises OutOfMemory if the device cannot hold even this crop alone, and
        DeadlineExceeded if ``deadline_s``, a time of ``time.monotonic``, passes before its batch
        starts (`submit` itself raises it if the queue has no room until then). Both raise
        ModelUnavailable after `close`.
        """
        with self._changed:
            remaining_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
            self._changed.wait_for(self._has_room, timeout=remaining_s)
            if self._closed:
                raise ModelUnavailable("the model is closed")
            if not self._has_room():
                raise DeadlineExceeded("no room in the queue of faces before the deadline")
            request = _Request(
                crop, (seed, controls), time.monotonic(), deadline_s, current_owner()
            )
            self._waiting.append(request)
            self._changed.notify_all()
        return request.future

    def close(self) -> None:
        """End the thread; crops that still wait raise ModelUnavailable."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _has_room(self) -> bool:
        return self._closed or len(self._waiting) < self.max_waiting

    def _work(self) -> None:
        while batch := self._next_batch():
            now_s = time.monotonic()
            live = [each for each in batch if each.future.set_running_or_notify_cancel()]
            for late in (each for each in live if each.is_late(now_s)):
                late.future.set_exception(DeadlineExceeded("the face's turn came too late"))
            if in_time := [each for each in live if not each.is_late(now_s)]:
                self._run_batch(in_time)
        for request in self._waiting:
            if request.future.set_running_or_notify_cancel():
                request.future.set_exception(ModelUnavailable("the model is closed"))

    def _next_batch(self) -> list[_Request]:
        """Return requests with one seed and one set of controls, oldest first; none if closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return []
            first = self._waiting[0]
            remaining_s = first.came_at_s + self._max_wait_s - time.monotonic()
            self._changed.wait_for(
                lambda: self._closed or len(self._like(first)) >= self._max_batch,
                timeout=max(0.0, remaining_s),
            )
            if self._closed:
                return []
            batch = self._like(first)[: self._max_batch]
            for request in batch:
                self._waiting.remove(request)
            self._changed.notify_all()
            return batch

    def _like(self, first: _Request) -> list[_Request]:
        return [request for request in self._waiting if request.draw == first.draw]

    def _run_batch(self, batch: list[_Request]) -> None:
        began_at, start_s = time.time(), time.monotonic()
        try:
            results = self._run([request.crop for request in batch], *batch[0].draw)
            self._on_batch(
                BatchReport(
                    began_at=began_at,
                    run_s=time.monotonic() - start_s,
                    waits_s=[start_s - request.came_at_s for request in batch],
                    owners=[request.owner for request in batch],
                )
            )
        except Exception as error:  # noqa: BLE001 - the futures raise it
            self._refuse(batch, error)
            return
        for request, result in zip(batch, results, strict=True):
            request.future.set_result(result)

    def _refuse(self, batch: list[_Request], error: Exception) -> None:
        """Halve a batch that was too large for the device; pass any other error to all futures."""
        if not self._is_out_of_memory(error):
            for request in batch:
                request.future.set_exception(error)
        elif len(batch) == 1:
            batch[0].future.set_exception(OutOfMemory("one face alone does not fit"))
        else:
            middle = len(batch) // 2
            self._run_batch(batch[:middle])
            self._run_batch(batch[middle:])
