"""Operations on batches: up to 1,000 photos in one request, with one webhook."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from facemend.calls import Tries, call, read_model
from facemend.errors import Conflict, WaitTimeout
from facemend.models import Batch, BatchItemPage
from facemend.parameters import BatchWebhook, Item
from facemend.parameters import Request as Defaults
from facemend.steps import Request, Sleep, Steps

ROOT = "/v1/batches"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 15.0


@dataclass(frozen=True, slots=True)
class BatchOperations:
    """``patience_s``: how long a request is tried again."""

    patience_s: float = 60.0

    def submit_batch(
        self,
        items: Sequence[Item],
        *,
        defaults: Defaults | None = None,
        webhook: BatchWebhook | None = None,
        idempotency_key: str | None = None,
    ) -> Steps[Batch]:
        """Submit up to 1,000 photos in one request.

        Each item is a request with ``input``; ``defaults`` has fields for all of them. A wrong item
        is rejected, and the others become jobs. As with ``submit``, a lost answer makes no second
        batch. Raises ProblemError, Unreachable.
        """
        body = {"items": list(items), "defaults": defaults, "webhook": webhook}
        request = Request(
            method="POST",
            url=ROOT,
            headers={"Idempotency-Key": idempotency_key or uuid.uuid4().hex},
            json={name: value for name, value in body.items() if value is not None},
        )
        return read_model(Batch, (yield from call(request, self.patience_s)))

    def get_batch(self, batch: Batch | str) -> Steps[Batch]:
        """Return the batch as it is now. Raises NotFound."""
        answer = yield from call(Request(method="GET", url=_path(batch)), self.patience_s)
        return read_model(Batch, answer)

    def wait_batch(
        self,
        batch: Batch | str,
        *,
        timeout_s: float | None = None,
        on_progress: Callable[[Batch], object] | None = None,
    ) -> Steps[Batch]:
        """Wait until all jobs of the batch have ended.

        ``on_progress`` is called with the batch now and then. ``timeout_s``: raise WaitTimeout
        after that time; the batch goes on.
        """
        give_up = None if timeout_s is None else time.monotonic() + timeout_s
        pause_s = _FIRST_PAUSE_S
        while True:
            found = yield from self.get_batch(batch)
            if on_progress:
                on_progress(found)
            if found.ended:
                return found
            if give_up is not None and time.monotonic() + pause_s > give_up:
                raise WaitTimeout(found.id, timeout_s or 0.0)
            yield Sleep(pause_s)
            pause_s = min(_LONGEST_PAUSE_S, pause_s * 1.5)

    def list_batch_items(
        self, batch: Batch | str, *, limit: int = 100, cursor: str | None = None
    ) -> Steps[BatchItemPage]:
        """Return one page of the items, in the order of the request."""
        params: dict[str, str | int] = {"limit": limit}
        if cursor is not None:
            params["cursor"] = cursor
        request = Request(method="GET", url=f"{_path(batch)}/items", params=params)
        return read_model(BatchItemPage, (yield from call(request, self.patience_s)))

    def cancel_batch(self, batch: Batch | str) -> Steps[Batch]:
        """Cancel the jobs that wait, and ask those that run to stop. Raises Conflict."""
        tries = Tries()
        request = Request(method="POST", url=f"{_path(batch)}/cancel")
        try:
            return read_model(Batch, (yield from call(request, self.patience_s, tries)))
        except Conflict:
            found = (yield from self.get_batch(batch)) if tries.again else None
            if found is None or found.status != "canceled":
                raise
            return found


def _path(batch: Batch | str) -> str:
    batch_id = batch if isinstance(batch, str) else batch.id
    return f"{ROOT}/{quote(batch_id, safe='')}"
