"""The object storage as a request uses it: no call lasts longer than the client may wait.

boto3 has time limits for connecting and for each read, but none for a call. So calls run in
threads of their own; one that takes too long is given up here and ends there by those limits. What
``SmallObjects`` does in limited time needs no thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from shared.errors import Unavailable
from shared.redis.request_deadline import limit_s, waiting
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage, StoredObject

Answer = TypeVar("Answer")


class PatientStorage(ObjectStorage):
    """Raises Unavailable when the request's patience ends. Signing contacts nobody."""

    def __init__(self, settings: Settings) -> None:
        self._longest_s = settings.api_timeout_s
        super().__init__(settings.model_copy(update={"s3_timeout_s": settings.api_timeout_s}))
        self._threads = ThreadPoolExecutor(settings.api_threads, thread_name_prefix="s3")

    def put(
        self, key: str, data: bytes, content_type: str, *, if_absent: bool = False
    ) -> StoredObject:
        with waiting("s3"):
            stored = self._put_small(
                key, data, content_type, if_absent=if_absent, within_s=limit_s(self._longest_s)
            )
            if stored is not None:
                return stored
            return self._wait(partial(super().put, key, data, content_type, if_absent=if_absent))

    def get(self, key: str, *, max_bytes: int, etag: str | None = None) -> bytes:
        return self._wait(partial(super().get, key, max_bytes=max_bytes, etag=etag))

    def head(self, key: str) -> StoredObject:
        return self._wait(partial(super().head, key))

    def delete(self, keys: Iterable[str]) -> None:
        self._wait(partial(super().delete, keys))

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """All at once: what a request lists is one job's."""
        pages = super().list(prefix)
        return iter(self._wait(lambda: tuple(pages)))

    def folders(self, prefix: str) -> Iterator[str]:
        """All at once, likewise."""
        pages = super().folders(prefix)
        return iter(self._wait(lambda: tuple(pages)))

    def ping(self) -> None:
        self._wait(super().ping)

    def _wait(self, call: Callable[[], Answer]) -> Answer:
        with waiting("s3"):
            running = self._threads.submit(call)
            try:
                return running.result(timeout=limit_s(self._longest_s))
            except TimeoutError:
                running.cancel()  # if it waits for a thread; otherwise it ends by itself
                raise Unavailable("The object storage does not answer in time") from None
