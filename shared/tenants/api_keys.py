"""API keys and webhook secrets of tenants.

A key reads ``fm_live_<id><secret><checksum>``: 32 hex digits that name it, 32 characters of
secret (190 bits), 6 of checksum, so that a mistyped or invented one never reaches Redis. Stored
is only an HMAC-SHA256 of the whole under a pepper that Redis does not know. Webhook secrets are
derived from the pepper and a stored number, so nothing here is a secret to who has not the pepper,
and ``copy`` may be kept beside the photos.
"""

from __future__ import annotations

import base64
import hmac
import json
import math
import re
import secrets
import string
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import redis
from pydantic import SecretStr

from shared.errors import InvalidRequest, NotFound, SettingsInvalid, Unauthorized, Unavailable
from shared.jobs.job import new_id
from shared.redis.client import Scripts, redis_errors, redis_key, tenant_key
from shared.tenants.rate_limit import UNLIMITED, Allowance, Quota, allowance

ALL_SCOPES = frozenset({"restorations:read", "restorations:write", "admin"})
WEBHOOK_OVERLAP_S = 86_400

_PREFIX = "fm_live_"
_LETTERS = string.digits + string.ascii_letters
_SECRET_LENGTH, _CHECKSUM_LENGTH = 32, 6
_TOKEN = re.compile(rf"{_PREFIX}([0-9a-f]{{32}})[0-9A-Za-z]{{{_SECRET_LENGTH + _CHECKSUM_LENGTH}}}")
_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class ApiKey:
    id: str
    tenant: str
    name: str
    scopes: frozenset[str]
    created_at: float
    revoked: bool


class KeyRing:
    """All keys in Redis. Asked at each request, so that a revoked key ends at once."""

    def __init__(self, client: redis.Redis, pepper: SecretStr) -> None:
        """Raises SettingsInvalid without a pepper."""
        self._pepper = pepper.get_secret_value().encode()
        if not self._pepper:
            raise SettingsInvalid("FACEMEND_API_KEY_PEPPER: set it to a long random text")
        self._redis = client
        self._scripts = Scripts(client)

    def create(
        self, tenant: str, name: str, scopes: Iterable[str] = ALL_SCOPES
    ) -> tuple[ApiKey, str]:
        """A new key and its token, which nobody can show again.

        Raises InvalidRequest for a tenant that cannot stand in keys and paths (lower-case
        letters, digits, ``-`` and ``_``) or an unknown scope; Unavailable.
        """
        granted = frozenset(scopes)
        if not _TENANT.fullmatch(tenant):
            raise InvalidRequest("A tenant is 1 to 63 of a-z, 0-9, - and _")
        if not granted or granted - ALL_SCOPES:
            raise InvalidRequest(f"Scopes are {', '.join(sorted(ALL_SCOPES))}")
        key_id = new_id("key")
        body = _PREFIX + key_id.removeprefix("key_") + _random_letters(_SECRET_LENGTH)
        token = body + _checksum(body)
        record = (key_id, tenant, name, " ".join(sorted(granted)), self._digest(token))
        created_at = float(self._scripts.run("add_key", *record))
        return ApiKey(key_id, tenant, name, granted, created_at, revoked=False), token

    def authenticate(self, token: str) -> ApiKey:
        """As ``admit`` does, and counts nothing."""
        return self.admit(token, UNLIMITED)[0]

    def admit(self, token: str, quota: Quota) -> tuple[ApiKey, Allowance | None]:
        """Whose token it is; one request of the key is counted in the same step.

        Raises Unauthorized, without telling why; Unavailable, also if there is no key at all. That
        is so when Redis was lost, and a client that is told 503 comes again.
        """
        match = _TOKEN.fullmatch(token)
        body, checksum = token[:-_CHECKSUM_LENGTH], token[-_CHECKSUM_LENGTH:]
        if match is None or not hmac.compare_digest(checksum, _checksum(body)):
            raise Unauthorized
        key_id = "key_" + match[1]
        digest = self._digest(token)
        any_keys, flat, counted = self._scripts.run(
            "authenticate", key_id, digest, quota.requests, quota.window_s
        )
        if not any_keys:
            raise Unavailable("There is no API key yet")
        record = dict(zip(flat[::2], flat[1::2], strict=True))
        # Compared even if there is no such key: both answers take the same time.
        right = hmac.compare_digest(digest, record.get("digest", ""))
        if not right or "revoked" in record:
            raise Unauthorized
        return _api_key(key_id, record), allowance(counted)

    def list(self, tenant: str | None = None) -> list[ApiKey]:
        """All keys, or one tenant's, oldest first; revoked ones too. Raises Unavailable."""
        keys = [_api_key(key_id, record) for key_id, record in self._records().items()]
        return [key for key in keys if tenant in {None, key.tenant}]

    def revoke(self, key_id: str) -> None:
        """For ever; again is no error. Raises NotFound, Unavailable."""
        if not self._record(key_id):
            raise NotFound(f"There is no key {key_id}")
        with redis_errors():
            self._redis.hset(redis_key("key", key_id), "revoked", "1")

    def webhook_secrets(self, tenant: str) -> tuple[str, ...]:
        """The valid ones, newest first; made at the first call. Raises Unavailable."""
        return self._webhook_secrets(tenant, rotate=False)

    def rotate_webhook_secret(self, tenant: str) -> str:
        """A new secret; the old one stays valid for 24 hours beside it. Raises Unavailable."""
        return self._webhook_secrets(tenant, rotate=True)[0]

    def copy(self) -> str:
        """All keys and what webhook secrets are derived from, as text. Raises Unavailable."""
        records = self._records()
        tenants = sorted({record["tenant"] for record in records.values()})
        with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            for tenant in tenants:
                pipe.zrange(_webhooks(tenant), 0, -1, withscores=True)
            seeds = pipe.execute()
        webhooks = {
            tenant: [[seed, _until(score)] for seed, score in found]
            for tenant, found in zip(tenants, seeds, strict=True)
            if found
        }
        return json.dumps({"keys": records, "webhooks": webhooks})

    def restore(self, copy: str) -> int:
        """Bring back what is not there any more; the number of keys. Raises Unavailable.

        What is there stays as it is, but a key that was revoked is so again.
        """
        content = json.loads(copy)
        restored = 0
        for key_id, record in content["keys"].items():
            flat = [part for pair in record.items() for part in pair]
            head = (key_id, record["created_at"], record.get("revoked", ""))
            restored += self._scripts.run("restore_key", *head, *flat)
        for tenant, seeds in content["webhooks"].items():
            flat = [part for seed, until in seeds for part in (until or "+inf", seed)]
            self._scripts.run("restore_webhooks", tenant, *flat)
        return restored

    def _webhook_secrets(self, tenant: str, *, rotate: bool) -> tuple[str, ...]:
        fresh, flag = secrets.token_hex(16), "1" if rotate else "0"
        seeds = self._scripts.run("webhook_secrets", tenant, fresh, flag, WEBHOOK_OVERLAP_S)
        return tuple(self._webhook_secret(tenant, seed) for seed in seeds)

    def _webhook_secret(self, tenant: str, seed: str) -> str:
        derived = hmac.digest(self._pepper, f"webhook {tenant} {seed}".encode(), "sha256")
        return "whsec_" + base64.b64encode(derived).decode()

    def _records(self) -> dict[str, dict[str, str]]:
        """Of all keys, oldest first."""
        with redis_errors():
            ids = cast("list[str]", self._redis.zrange(redis_key("keys"), 0, -1))
            with self._redis.pipeline(transaction=False) as pipe:
                for key_id in ids:
                    pipe.hgetall(redis_key("key", key_id))
                return dict(zip(ids, pipe.execute(), strict=True))

    def _record(self, key_id: str) -> dict[str, str]:
        with redis_errors():
            answer: Any = self._redis.hgetall(redis_key("key", key_id))
        return cast("dict[str, str]", answer)

    def _digest(self, token: str) -> str:
        return hmac.digest(self._pepper, token.encode(), "sha256").hex()


def _webhooks(tenant: str) -> str:
    return tenant_key(tenant, "webhook-secrets")


def _until(score: float) -> float | None:
    """JSON has no infinity: None is for ever."""
    return None if math.isinf(score) else score


def _api_key(key_id: str, record: dict[str, str]) -> ApiKey:
    return ApiKey(
        id=key_id,
        tenant=record["tenant"],
        name=record["name"],
        scopes=frozenset(record["scopes"].split()),
        created_at=float(record["created_at"]),
        revoked="revoked" in record,
    )


def _random_letters(count: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(count))


def _checksum(body: str) -> str:
    """CRC-32 in 6 letters: finds mistakes, proves nothing."""
    value, letters = zlib.crc32(body.encode()), ""
    for _ in range(_CHECKSUM_LENGTH):
        value, rest = divmod(value, len(_LETTERS))
        letters += _LETTERS[rest]
    return letters
