"""One bucket of S3-compatible object storage; translates boto3's errors into our own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from os.path import commonprefix
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import SecretStr

from shared.errors import (
    BucketMissing,
    Conflict,
    InputChanged,
    InputNotFound,
    InputTooLarge,
    Unavailable,
)
from shared.settings import Settings
from shared.storage.call_metrics import measure_calls
from shared.storage.fast_put import FastPut

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, CopySourceTypeDef

CONNECT_TIMEOUT_S = 3.0
_DELETE_AT_ONCE = 1000  # the maximum of one DeleteObjects request
_PIECE_BYTES, _PART_BYTES = 262_144, 8_388_608  # S3 has at most 10,000 parts
_FEW, _HEADS_AT_ONCE = 8, 8
_SMALL_BYTES = 65_536  # up to this size the client costs more than the transfer


@dataclass(frozen=True, slots=True)
class StoredObject:
    """``age_s``: seconds since the write, by the clock of the storage; only ``list`` sets it."""

    key: str
    bytes: int
    etag: str
    content_type: str
    age_s: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class PresignedPost:
    """A form that stores one object: its address, its fields, and the time (UTC) it expires."""

    url: str
    fields: dict[str, str]
    expires_at: datetime


class Storage(Protocol):
    """What callers need of a bucket. ``ObjectStorage`` says what each method does and raises."""

    def put(
        self,
        key: str,
        data: bytes,
        content_type: str,
        *,
        if_absent: bool = False,
        if_etag: str | None = None,
    ) -> StoredObject: ...

    def get(self, key: str, *, max_bytes: int, etag: str | None = None) -> bytes: ...

    def head(self, key: str) -> StoredObject: ...

    def find(self, keys: Collection[str]) -> dict[str, StoredObject]: ...

    def presign(self, key: str, *, filename: str | None = None) -> tuple[str, datetime]: ...

    def presign_post(
        self, key: str, *, content_type: str, max_bytes: int, ttl_s: int
    ) -> PresignedPost: ...

    def delete(self, keys: Iterable[str]) -> None: ...

    def list(self, prefix: str) -> Iterator[StoredObject]: ...

    def folders(self, prefix: str) -> Iterator[str]: ...

    def ping(self) -> None: ...


class ObjectStorage:
    """A ``Storage``. Thread-safe; connects at the first call."""

    def __init__(self, settings: Settings) -> None:
        self._bucket = settings.s3_bucket
        self._region = settings.s3_region
        self._url_ttl_s = settings.url_ttl_s
        session = Session(
            aws_access_key_id=_reveal(settings.s3_access_key_id),
            aws_secret_access_key=_reveal(settings.s3_secret_access_key),
        )
        self._client = _client(session, settings, settings.s3_endpoint_url)
        measure_calls(self._client)
        public = settings.s3_public_endpoint_url or settings.s3_endpoint_url
        self._public = _client(session, settings, public)  # only signs, never connects
        self._fast_put = FastPut(
            self._client.meta.endpoint_url,
            settings.s3_bucket,
            credentials=session.get_credentials(),
            region=settings.s3_region,
            connect_timeout_s=min(CONNECT_TIMEOUT_S, settings.s3_timeout_s),
            timeout_s=settings.s3_timeout_s,
        )

    def put(
        self,
        key: str,
        data: bytes,
        content_type: str,
        *,
        if_absent: bool = False,
        if_etag: str | None = None,
    ) -> StoredObject:
        """Write a whole object.

        Raises Unavailable, and Conflict if ``if_absent`` and the object exists, or if the object
        has not the version ``if_etag``. The call may be repeated after an Unavailable; with a
        condition, the second call may find the object of the first one.
        """
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if if_absent else _if_match(if_etag)
        if if_etag is None:
            quick = self.put_quickly(key, data, content_type, if_absent=if_absent)
            if quick is not None:
                return quick
        with _errors():
            etag = self._client.put_object(
                Bucket=self._bucket, Key=key, Body=data, ContentType=content_type, **condition
            )["ETag"]
        return StoredObject(key, len(data), etag.strip('"'), content_type)

    def put_quickly(
        self,
        key: str,
        data: bytes,
        content_type: str,
        *,
        if_absent: bool = False,
        within_s: float | None = None,
    ) -> StoredObject | None:
        """Write a small object with one cheap attempt, as ``FastPut.put`` does.

        Returns None if the object is large, or if it may not have been written: then use ``put``.
        """
        if len(data) > _SMALL_BYTES:
            return None
        headers = {"content-type": content_type}
        if if_absent:
            headers["if-none-match"] = "*"
        etag = self._fast_put.put(key, data, headers, within_s=within_s)
        return None if etag is None else StoredObject(key, len(data), etag.strip('"'), content_type)

    def get(self, key: str, *, max_bytes: int, etag: str | None = None) -> bytes:
        """Return the content of an object of at most ``max_bytes``.

        ``etag``: the version that the object must have.

        Raises InputNotFound, InputTooLarge, InputChanged, Unavailable.
        """
        with _errors():
            response = self._client.get_object(Bucket=self._bucket, Key=key, **_if_match(etag))
            # Not ``with response["Body"] as body``: that returns the reader of urllib3.
            with closing(response["Body"]) as body:
                if response["ContentLength"] > max_bytes:
                    raise InputTooLarge(
                        f"The photo has {response['ContentLength']} bytes; {max_bytes} are allowed"
                    )
                return body.read()

    def stream(self, key: str, *, etag: str | None = None) -> Iterator[bytes]:
        """Yield the content of an object in pieces; ``etag``: the version that it must have.

        Iterating raises InputNotFound, InputChanged, Unavailable.
        """
        with _errors():
            response = self._client.get_object(Bucket=self._bucket, Key=key, **_if_match(etag))
            with closing(response["Body"]) as body:
                yield from body.iter_chunks(_PIECE_BYTES)

    def put_stream(self, key: str, pieces: Iterable[bytes], content_type: str) -> int:
        """Write an object of any size, with one part in memory; return its bytes.

        Nothing is stored if ``pieces`` raises. Parts that an earlier, dead call for this key left
        are removed. Raises Unavailable.
        """
        self._abort_uploads(key)
        where: dict[str, Any] = {"Bucket": self._bucket, "Key": key}
        with _errors():
            started = self._client.create_multipart_upload(**where, ContentType=content_type)
        upload: dict[str, Any] = {**where, "UploadId": started["UploadId"]}
        size = 0
        parts: list[CompletedPartTypeDef] = []
        try:
            for part in _parts(pieces):
                number = len(parts) + 1
                with _errors():
                    done = self._client.upload_part(**upload, PartNumber=number, Body=part)
                parts.append({"PartNumber": number, "ETag": done["ETag"]})
                size += len(part)
            with _errors():
                self._client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        except BaseException:
            with suppress(ClientError, BotoCoreError):
                self._client.abort_multipart_upload(**upload)
            raise
        return size

    def _abort_uploads(self, key: str) -> None:
        with _errors():
            found = self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=key)
            for upload in found.get("Uploads", ()):
                if upload["Key"] == key:
                    self._client.abort_multipart_upload(
                        Bucket=self._bucket, Key=key, UploadId=upload["UploadId"]
                    )

    def head(self, key: str) -> StoredObject:
        """Return what is known of an object. Raises InputNotFound, Unavailable."""
        with _errors():
            response = self._client.head_object(Bucket=self._bucket, Key=key)
        return StoredObject(
            key, response["ContentLength"], response["ETag"].strip('"'), response["ContentType"]
        )

    def find(self, keys: Collection[str]) -> dict[str, StoredObject]:
        """Return those of many objects that exist, by key. Their ``content_type`` may be empty.

        Objects whose keys are close to each other are found by listing, a thousand with each
        request. Raises Unavailable.
        """
        wanted, found = sorted(keys), dict[str, StoredObject]()
        if len(wanted) > _FEW:
            found = self._find_by_listing(wanted)
        missing = [key for key in wanted if key not in found]
        with ThreadPoolExecutor(_HEADS_AT_ONCE) as pool:
            for key, stored in zip(missing, pool.map(self._head_or_none, missing), strict=True):
                if stored is not None:
                    found[key] = stored
        return found

    def _find_by_listing(self, wanted: Sequence[str]) -> dict[str, StoredObject]:
        """List from the first to the last key, but not much more than there are keys."""
        found: dict[str, StoredObject] = {}
        names, start = set(wanted), wanted[0][:-1]
        prefix = commonprefix([wanted[0], wanted[-1]])  # noqa: RUF071  # of keys, not of paths
        for _ in range(2 + 2 * len(wanted) // _DELETE_AT_ONCE):
            with _errors():
                page = self._client.list_objects_v2(
                    Bucket=self._bucket, Prefix=prefix, StartAfter=start
                )
            items = page.get("Contents", [])
            for item in items:
                if item["Key"] in names:
                    etag = item["ETag"].strip('"')
                    found[item["Key"]] = StoredObject(item["Key"], item["Size"], etag, "")
            if not page.get("IsTruncated") or not items or items[-1]["Key"] >= wanted[-1]:
                break
            start = items[-1]["Key"]
        return found

    def _head_or_none(self, key: str) -> StoredObject | None:
        try:
            return self.head(key)
        except InputNotFound:
            return None

    def presign(self, key: str, *, filename: str | None = None) -> tuple[str, datetime]:
        """Return a presigned URL to GET this object, and the time (UTC) at which it expires.

        With ``filename``, browsers save the object under that name instead of showing it.
        """
        parameters = {"Bucket": self._bucket, "Key": key}
        if filename is not None:
            parameters["ResponseContentDisposition"] = _attachment(filename)
        expires_at = datetime.now(UTC) + timedelta(seconds=self._url_ttl_s)
        url = self._public.generate_presigned_url(
            "get_object", Params=parameters, ExpiresIn=self._url_ttl_s
        )
        return url, expires_at

    def presign_post(
        self, key: str, *, content_type: str, max_bytes: int, ttl_s: int
    ) -> PresignedPost:
        """Return a form that stores this object and no other, of this type, and not empty.

        It is valid for ``ttl_s`` seconds. The storage refuses everything else by the policy in it.
        """
        expires_at = datetime.now(UTC) + timedelta(seconds=ttl_s)
        post = self._public.generate_presigned_post(
            self._bucket,
            key,
            Fields={"Content-Type": content_type},
            Conditions=[{"Content-Type": content_type}, ["content-length-range", 1, max_bytes]],
            ExpiresIn=ttl_s,
        )
        return PresignedPost(post["url"], post["fields"], expires_at)

    def copy(self, key: str, to: str, *, etag: str | None = None) -> None:
        """Copy an object inside the bucket; ``etag``: the version that it must have.

        Raises InputNotFound, InputChanged, Unavailable.
        """
        source: CopySourceTypeDef = {"Bucket": self._bucket, "Key": key}
        condition: dict[str, Any] = {"CopySourceIfMatch": f'"{etag}"'} if etag else {}
        with _errors():
            self._client.copy_object(Bucket=self._bucket, Key=to, CopySource=source, **condition)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; a missing one is not an error. Raises Unavailable."""
        names = list(keys)
        for start in range(0, len(names), _DELETE_AT_ONCE):
            objects = [{"Key": key} for key in names[start : start + _DELETE_AT_ONCE]]
            with _errors():
                response = self._client.delete_objects(
                    Bucket=self._bucket,
                    Delete={"Objects": objects, "Quiet": True},  # type: ignore[typeddict-item]
                )
            if response.get("Errors"):
                raise Unavailable("The object storage did not delete all objects")

    def list(self, prefix: str, *, recursive: bool = True) -> Iterator[StoredObject]:
        """Iterate over the objects whose keys begin with ``prefix``.

        Without ``recursive``, the keys of ``folders`` are left out. The ``content_type`` is empty,
        since S3 does not list it. Iterating raises Unavailable.
        """
        depth: dict[str, Any] = {} if recursive else {"Delimiter": "/"}
        with _errors():
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=prefix, **depth):
                now = _clock(page)
                for item in page.get("Contents", ()):
                    age_s = (now - item["LastModified"]).total_seconds()
                    etag = item["ETag"].strip('"')
                    yield StoredObject(item["Key"], item["Size"], etag, "", max(0.0, age_s))

    def folders(self, prefix: str) -> Iterator[str]:
        """Iterate over the names of the folders directly below ``prefix``.

        Iterating raises Unavailable.
        """
        with _errors():
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=prefix, Delimiter="/"):
                for item in page.get("CommonPrefixes", ()):
                    yield item["Prefix"].removeprefix(prefix).removesuffix("/")

    def ping(self) -> None:
        """Raises Unavailable if the storage does not respond, BucketMissing without the bucket."""
        with _errors():
            self._client.head_bucket(Bucket=self._bucket)


def _if_match(etag: str | None) -> dict[str, Any]:
    return {"IfMatch": f'"{etag}"'} if etag else {}


def _parts(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the pieces again, in parts of the size that S3 wants; at least one, maybe empty."""
    part, any_yet = bytearray(), False
    for piece in pieces:
        part += piece
        if len(part) >= _PART_BYTES:
            yield bytes(part)
            any_yet = True
            part.clear()
    if part or not any_yet:
        yield bytes(part)


def _client(session: Session, settings: Settings, endpoint_url: str | None) -> S3Client:
    return session.client(
        "s3",
        endpoint_url=endpoint_url,
        region_name=settings.s3_region,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            connect_timeout=min(CONNECT_TIMEOUT_S, settings.s3_timeout_s),
            read_timeout=settings.s3_timeout_s,
            retries={"mode": "standard", "total_max_attempts": 3},
            max_pool_connections=32,
            # Some S3 servers do not support the newer checksums that boto3 adds by default.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def _reveal(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def _attachment(filename: str) -> str:
    """Content-Disposition by RFC 6266: an ASCII name for old clients, and the real name."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._- ") else "_" for c in filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


@contextmanager
def _errors() -> Iterator[None]:
    """Translate the errors of boto3."""
    try:
        yield
    except ClientError as error:
        code, status = error.response["Error"]["Code"], _status(error)
        if code == "PreconditionFailed" or status == 412:
            if error.operation_name == "PutObject":
                raise Conflict("The object exists already, or is another version") from error
            raise InputChanged from error
        if code == "NoSuchBucket" or (status == 404 and error.operation_name == "HeadBucket"):
            raise BucketMissing from error
        if status == 404:
            raise InputNotFound from error
        raise Unavailable(
            f"The object storage responds {code} to {error.operation_name}"
        ) from error
    except BotoCoreError as error:
        raise Unavailable("The object storage does not respond") from error


def _clock(response: Mapping[str, Any]) -> datetime:
    """Return the time of the storage. The local clock may differ, and ages would be wrong."""
    date = response["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(date) if date else datetime.now(UTC)


def _status(error: ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
