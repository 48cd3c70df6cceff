"""The sources of weights: HTTP, S3 or a folder; each can resume a download at a byte."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from shared.errors import WeightsMissing
from worker.weights.model_entry import ModelEntry

_CHUNK_BYTES = 1 << 20
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)


class DownloadInterrupted(Exception):
    """The source stopped early. Another try may resume it; with ``restart`` it begins at byte 0."""

    def __init__(self, detail: str, *, restart: bool = False) -> None:
        super().__init__(detail)
        self.restart = restart


@dataclass(frozen=True, slots=True)
class Stream:
    """The bytes from ``start`` on; ``start`` is 0 if the source cannot resume.

    ``total`` is the size of the whole file, if the source gives it.
    """

    start: int
    total: int | None
    etag: str | None
    chunks: Iterator[bytes]


class Source(Protocol):
    """One file at one place."""

    def open(self, start: int, etag: str | None) -> AbstractContextManager[Stream]:
        """Open the file at ``start`` if it still has this ``etag``, else at 0.

        Raises WeightsMissing if there is no such file, DownloadInterrupted if another try may help.
        """
        ...


@dataclass(frozen=True, slots=True)
class HttpSource:
    """A file on an HTTP server."""

    url: str

    @contextmanager
    def open(self, start: int, etag: str | None) -> Iterator[Stream]:
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers |= {"Range": f"bytes={start}-"} | ({"If-Range": etag} if etag else {})
        try:
            with (
                httpx.Client(timeout=_TIMEOUT, follow_redirects=True) as client,
                client.stream("GET", self.url, headers=headers) as answer,
            ):
                yield self._stream(answer, start)
        except httpx.HTTPError as error:
            raise DownloadInterrupted(f"{self.url}: {error or type(error).__name__}") from None
        except httpx.InvalidURL as error:
            raise WeightsMissing(f"{self.url} is not an address: {error}") from None

    def _stream(self, answer: httpx.Response, start: int) -> Stream:
        etag, status = answer.headers.get("ETag"), answer.status_code
        if status == 200:
            length = answer.headers.get("Content-Length")
            return Stream(0, int(length) if length else None, etag, answer.iter_raw())
        if status in {206, 416}:
            first, total = _content_range(answer.headers.get("Content-Range", ""))
            if status == 206 and first == start:
                return Stream(start, total, etag, answer.iter_raw())
            if status == 416 and total == start:  # nothing is left to send
                return Stream(start, total, etag, iter(()))
            raise DownloadInterrupted(f"{self.url} cannot go on at byte {start}", restart=True)
        if status in {408, 425, 429} or status >= 500:
            raise DownloadInterrupted(f"{self.url} responds with {status}")
        raise WeightsMissing(f"{self.url} responds with {status}")


def _content_range(value: str) -> tuple[int | None, int | None]:
    """Return the first byte and the total of ``bytes 5-9/10`` or ``bytes */10``."""
    match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", value)
    if not match:
        return None, None
    return int(match[1] or 0), None if match[2] == "*" else int(match[2])


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file on this machine or on a mounted disk."""

    path: Path

    @contextmanager
    def open(self, start: int, _etag: str | None) -> Iterator[Stream]:
        try:
            file = self.path.open("rb")
        except OSError as error:
            raise WeightsMissing(f"{self.path} cannot be read: {error.strerror}") from None
        with file:
            total = self.path.stat().st_size
            start = start if start <= total else 0
            file.seek(start)
            yield Stream(start, total, None, iter(lambda: file.read(_CHUNK_BYTES), b""))


@dataclass(frozen=True, slots=True)
class S3Source:
    """An object in S3; ``client`` is one of boto3."""

    client: Any
    bucket: str
    key: str

    @contextmanager
    def open(self, start: int, etag: str | None) -> Iterator[Stream]:
        where = f"s3://{self.bucket}/{self.key}"
        extra = {"Range": f"bytes={start}-"} | ({"IfMatch": etag} if etag else {}) if start else {}
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=self.key, **extra)
            total = start + answer["ContentLength"]
            with closing(answer["Body"]) as body:
                yield Stream(start, total, answer.get("ETag"), body.iter_chunks(_CHUNK_BYTES))
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in {"PreconditionFailed", "InvalidRange", "412", "416"}:
                raise DownloadInterrupted(
                    f"{where} cannot go on at byte {start}", restart=True
                ) from None
            if code in {"SlowDown", "InternalError", "ServiceUnavailable", "503"}:
                raise DownloadInterrupted(f"{where}: {code}") from None
            raise WeightsMissing(f"{where} cannot be read: {code}") from None
        except (BotoCoreError, HTTPError) as error:
            raise DownloadInterrupted(f"{where}: {error}") from None


def choose_source(entry: ModelEntry, mirror: str | None, connect_s3: Callable[[], Any]) -> Source:
    """Return the source of a file: its published address, or its place in a mirror.

    ``mirror`` is ``https://…``, ``s3://bucket/prefix`` or a folder. ``connect_s3`` returns a boto3
    client. Raises WeightsMissing for a model that cannot be downloaded.
    """
    if entry.package is not None:
        raise WeightsMissing(f"{entry.name} comes in a package: {entry.install_hint}")
    if mirror is None:
        if entry.url is None:
            raise WeightsMissing(f"{entry.name} comes with the package: there is nothing to pull")
        return HttpSource(entry.url)
    place = f"{mirror.rstrip('/')}/{entry.file}"
    if place.startswith(("https://", "http://")):
        return HttpSource(place)
    if place.startswith("s3://"):
        bucket, _, key = place.removeprefix("s3://").partition("/")
        return S3Source(connect_s3(), bucket, key)
    return FileSource(Path(place.removeprefix("file://")).expanduser())
