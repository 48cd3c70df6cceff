"""The object storage with the time limit of a request.

boto3 limits the time of each connect and read, but not of a whole call. So each call runs in a
thread of its own. A request gives up a call that takes too long; the thread ends later, by boto3's
own limits. Only a small object is written without a thread, which would double its cost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Self, TypeVar

from shared.errors import Unavailable
from shared.redis.request_deadline import limit_s, waiting
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage, PresignedPost, StoredObject

Result = TypeVar("Result")


class RequestStorage:
    """A ``Storage`` whose calls raise Unavailable at the deadline of the current request."""

    def __init__(self, storage: ObjectStorage, *, threads: int, timeout_s: float) -> None:
        """Wrap ``storage``. ``timeout_s`` limits calls outside of requests, too."""
        self._storage = storage
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="s3")

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        """Wrap the bucket of ``settings``; connects at the first call."""
        timeout_s = settings.api_timeout_s
        storage = ObjectStorage(settings.model_copy(update={"s3_timeout_s": timeout_s}))
        return cls(storage, threads=settings.api_threads, timeout_s=timeout_s)

    def put(
        self,
        key: str,
        data: bytes,
        content_type: str,
        *,
        if_absent: bool = False,
        if_etag: str | None = None,
    ) -> StoredObject:
        write = partial(
            self._storage.put, key, data, content_type, if_absent=if_absent, if_etag=if_etag
        )
        if if_etag is not None:
            return self._wait(write)
        with waiting("s3"):
            quick = self._storage.put_quickly(
                key, data, content_type, if_absent=if_absent, within_s=limit_s(self._timeout_s)
            )
            return quick or self._wait(write)

    def get(self, key: str, *, max_bytes: int, etag: str | None = None) -> bytes:
        return self._wait(partial(self._storage.get, key, max_bytes=max_bytes, etag=etag))

    def head(self, key: str) -> StoredObject:
        return self._wait(partial(self._storage.head, key))

    def find(self, keys: Collection[str]) -> dict[str, StoredObject]:
        return self._wait(partial(self._storage.find, keys))

    def presign(self, key: str, *, filename: str | None = None) -> tuple[str, datetime]:
        return self._storage.presign(key, filename=filename)  # contacts nobody

    def presign_post(
        self, key: str, *, content_type: str, max_bytes: int, ttl_s: int
    ) -> PresignedPost:
        return self._storage.presign_post(  # contacts nobody
            key, content_type=content_type, max_bytes=max_bytes, ttl_s=ttl_s
        )

    def delete(self, keys: Iterable[str]) -> None:
        self._wait(partial(self._storage.delete, keys))

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """List everything before returning: a request lists the objects of one job."""
        return iter(self._wait(lambda: tuple(self._storage.list(prefix))))

    def folders(self, prefix: str) -> Iterator[str]:
        """List everything before returning."""
        return iter(self._wait(lambda: tuple(self._storage.folders(prefix))))

    def ping(self) -> None:
        self._wait(self._storage.ping)

    def _wait(self, call: Callable[[], Result]) -> Result:
        with waiting("s3"):
            running = self._threads.submit(call)
            try:
                return running.result(timeout=limit_s(self._timeout_s))
            except TimeoutError:
                running.cancel()  # has an effect only if the call has not begun
                raise Unavailable("The object storage does not respond in time") from None
