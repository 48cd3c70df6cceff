"""Objects in S3-compatible storage: photos in, results out. boto3's errors end here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
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
from shared.storage.fast_put import SmallObjects

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECT_TIMEOUT_S = 3.0
_DELETE_AT_ONCE = 1000  # the most that one DeleteObjects takes
_SMALL_BYTES = 65_536  # so much is signed and sent in no time


@dataclass(frozen=True, slots=True)
class StoredObject:
    """``age_s`` is told by ``list`` alone: since it was written, by the storage's own clock."""

    key: str
    bytes: int
    etag: str
    content_type: str
    age_s: float | None = field(default=None, compare=False)


class ObjectStorage:
    """One bucket. Thread-safe; connects at the first call."""

    def __init__(self, settings: Settings) -> None:
        self._bucket = settings.s3_bucket
        self._region = settings.s3_region
        self._url_ttl_s = settings.url_ttl_s
        session = Session(
            aws_access_key_id=_reveal(settings.s3_access_key_id),
            aws_secret_access_key=_reveal(settings.s3_secret_access_key),
        )
        self._client = _client(session, settings, settings.s3_endpoint_url)
        public = settings.s3_public_endpoint_url or settings.s3_endpoint_url
        self._public = _client(session, settings, public)  # only signs, never connects
        self._small = SmallObjects(
            self._client.meta.endpoint_url,
            settings.s3_bucket,
            credentials=session.get_credentials(),
            region=settings.s3_region,
            connect_timeout_s=min(CONNECT_TIMEOUT_S, settings.s3_timeout_s),
            timeout_s=settings.s3_timeout_s,
        )

    def put(
        self, key: str, data: bytes, content_type: str, *, if_absent: bool = False
    ) -> StoredObject:
        """Write an object whole. Raises Unavailable; Conflict if ``if_absent`` and it is there.

        After a lost answer the same call may be made again; with ``if_absent`` the second one
        then meets its own object.
        """
        stored = self._put_small(key, data, content_type, if_absent=if_absent)
        if stored is not None:
            return stored
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if if_absent else {}
        with _errors():
            etag = self._client.put_object(
                Bucket=self._bucket, Key=key, Body=data, ContentType=content_type, **condition
            )["ETag"]
        return StoredObject(key, len(data), etag.strip('"'), content_type)

    def _put_small(
        self,
        key: str,
        data: bytes,
        content_type: str,
        *,
        if_absent: bool,
        within_s: float | None = None,
    ) -> StoredObject | None:
        """See ``SmallObjects.put``; None also for an object that is not small."""
        if len(data) > _SMALL_BYTES:
            return None
        headers = {"Content-Type": content_type}
        if if_absent:
            headers["If-None-Match"] = "*"
        etag = self._small.put(key, data, headers, within_s=within_s)
        return None if etag is None else StoredObject(key, len(data), etag.strip('"'), content_type)

    def get(self, key: str, *, max_bytes: int, etag: str | None = None) -> bytes:
        """Read an object of at most ``max_bytes``, and with ``etag`` only that version of it.

        Raises InputNotFound, InputTooLarge, InputChanged, Unavailable.
        """
        condition: dict[str, Any] = {"IfMatch": f'"{etag}"'} if etag else {}
        with _errors():
            answer = self._client.get_object(Bucket=self._bucket, Key=key, **condition)
            # Not ``with answer["Body"] as body``: that hands out urllib3's own reader.
            with closing(answer["Body"]) as body:
                if answer["ContentLength"] > max_bytes:
                    raise InputTooLarge(
                        f"The photo has {answer['ContentLength']} bytes; {max_bytes} are allowed"
                    )
                return body.read()

    def head(self, key: str) -> StoredObject:
        """Raises InputNotFound, Unavailable."""
        with _errors():
            answer = self._client.head_object(Bucket=self._bucket, Key=key)
        return StoredObject(
            key, answer["ContentLength"], answer["ETag"].strip('"'), answer["ContentType"]
        )

    def presign(self, key: str, *, filename: str | None = None) -> tuple[str, datetime]:
        """An address to GET this one object without a key of ours, and when it ends (UTC).

        With ``filename`` browsers save it under that name instead of showing it.
        """
        parameters = {"Bucket": self._bucket, "Key": key}
        if filename is not None:
            parameters["ResponseContentDisposition"] = _attachment(filename)
        ends_at = datetime.now(UTC) + timedelta(seconds=self._url_ttl_s)
        url = self._public.generate_presigned_url(
            "get_object", Params=parameters, ExpiresIn=self._url_ttl_s
        )
        return url, ends_at

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; one that is not there is no error. Raises Unavailable."""
        names = list(keys)
        for start in range(0, len(names), _DELETE_AT_ONCE):
            objects = [{"Key": key} for key in names[start : start + _DELETE_AT_ONCE]]
            with _errors():
                answer = self._client.delete_objects(
                    Bucket=self._bucket,
                    Delete={"Objects": objects, "Quiet": True},  # type: ignore[typeddict-item]
                )
            if answer.get("Errors"):
                raise Unavailable("The object storage did not delete everything")

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """All objects whose keys begin with ``prefix``; their types are not told (empty).

        Raises Unavailable while it is walked through.
        """
        with _errors():
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=prefix):
                now = _clock(page)
                for item in page.get("Contents", ()):
                    age_s = (now - item["LastModified"]).total_seconds()
                    etag = item["ETag"].strip('"')
                    yield StoredObject(item["Key"], item["Size"], etag, "", max(0.0, age_s))

    def folders(self, prefix: str) -> Iterator[str]:
        """What comes next in keys that begin with ``prefix``, up to their next slash.

        Raises Unavailable while it is walked through.
        """
        with _errors():
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=prefix, Delimiter="/"):
                for item in page.get("CommonPrefixes", ()):
                    yield item["Prefix"].removeprefix(prefix).removesuffix("/")

    def ping(self) -> None:
        """Raises Unavailable if the storage does not answer, BucketMissing without a bucket."""
        with _errors():
            self._client.head_bucket(Bucket=self._bucket)


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
            # Not every S3 knows the newer checksums that boto3 would otherwise add.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def _reveal(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def _attachment(filename: str) -> str:
    """RFC 6266: a plain name for old clients, the true one for the others."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._- ") else "_" for c in filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


@contextmanager
def _errors() -> Iterator[None]:
    """Translate what boto3 raises."""
    try:
        yield
    except ClientError as error:
        code, status = error.response["Error"]["Code"], _status(error)
        if code == "PreconditionFailed" or status == 412:
            if error.operation_name == "PutObject":
                raise Conflict("An object of that name is already there") from error
            raise InputChanged from error
        if code == "NoSuchBucket" or (status == 404 and error.operation_name == "HeadBucket"):
            raise BucketMissing from error
        if status == 404:
            raise InputNotFound from error
        raise Unavailable(f"The object storage answers {code} to {error.operation_name}") from error
    except BotoCoreError as error:
        raise Unavailable("The object storage does not answer") from error


def _clock(answer: Mapping[str, Any]) -> datetime:
    """The storage's own time: ours may differ, and ages would be wrong."""
    said = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(said) if said else datetime.now(UTC)


def _status(error: ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
