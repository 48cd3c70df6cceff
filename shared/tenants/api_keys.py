"""API keys and webhook secrets of tenants.

A token is ``fm_live_<id><secret><checksum>``: an id of 32 hex digits, a secret of 32 characters
(190 bits) and a checksum of 6, so that a mistyped token never reaches Redis. Redis stores only an
HMAC-SHA256 of the token under the pepper, which Redis does not have. Webhook secrets are derived
from the pepper and a stored seed. So neither Redis nor a ``copy`` of the keys contains a secret.
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
from typing import Any, Self, cast

from pydantic import SecretStr

from shared.errors import (
    Forbidden,
    InvalidRequest,
    NotFound,
    SettingsInvalid,
    Unauthorized,
    Unavailable,
)
from shared.jobs.job import new_id
from shared.redis.client import connect, redis_errors
from shared.redis.keys import redis_key, tenant_key
from shared.redis.scripts import Scripts
from shared.settings import Settings
from shared.tenants.moves import Moves, MoveState
from shared.tenants.pins import Pins
from shared.tenants.rate_limit import UNLIMITED, Allowance, Quota, allowance

ALL_SCOPES = frozenset({"restorations:read", "restorations:write", "admin"})
WEBHOOK_OVERLAP_S = 86_400

_PREFIX = "fm_live_"
_LETTERS = string.digits + string.ascii_letters
_SECRET_LENGTH, _CHECKSUM_LENGTH = 32, 6
#: The last digits of a key's id, which are random. A router of cells knows these.
ROUTED_DIGITS = 12
_TOKEN = re.compile(rf"{_PREFIX}([0-9a-f]{{32}})[0-9A-Za-z]{{{_SECRET_LENGTH + _CHECKSUM_LENGTH}}}")
_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key, or a token: a short-lived key that another key, its ``parent``, has created.

    Only a token has ``jobs_left``, and ``expires_at`` when it is created. Times are Unix seconds.
    ``pin``: the pool to which the tenant is pinned (``shared.tenants.pins``). ``moving``: it is on
    its way to another cell (``shared.tenants.moves``). Only the key of a request has these.
    """

    id: str
    tenant: str
    name: str
    scopes: frozenset[str]
    created_at: float
    revoked: bool
    parent: str | None = None
    expires_at: float | None = None
    jobs_left: int | None = None
    pin: str | None = None
    moving: MoveState | None = None

    @property
    def owner_id(self) -> str:
        """The key to which usage and idempotency keys belong: of a token, its parent."""
        return self.parent or self.id


class KeyRing:
    """All keys in Redis. Each request reads its key, so that a revoked key fails at once."""

    def __init__(self, scripts: Scripts, pepper: SecretStr) -> None:
        """Raises SettingsInvalid if the pepper is empty."""
        self._pepper = pepper.get_secret_value().encode()
        if not self._pepper:
            raise SettingsInvalid("FACEMEND_API_KEY_PEPPER: set it to a long random text")
        self._scripts, self._redis = scripts, scripts.client

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        """Use Redis of ``settings``. It connects at the first command."""
        return cls(Scripts(connect(settings)), settings.api_key_pepper)

    def create(
        self, tenant: str, name: str, scopes: Iterable[str] = ALL_SCOPES
    ) -> tuple[ApiKey, str]:
        """Create a key. Return it and its token, which is not stored.

        Raises InvalidRequest for an unknown scope or a bad tenant name (a tenant is part of keys
        and paths: lower-case letters, digits, ``-`` and ``_``); Unavailable.
        """
        granted = frozenset(scopes)
        if not _TENANT.fullmatch(tenant):
            raise InvalidRequest("A tenant has 1 to 63 characters of a-z, 0-9, - and _")
        if not granted or granted - ALL_SCOPES:
            raise InvalidRequest(f"Scopes are {', '.join(sorted(ALL_SCOPES))}")
        key_id, token = _new_token()
        created_at = float(
            self._scripts.run(
                "add_key",
                id=key_id,
                tenant=tenant,
                name=name,
                scopes=" ".join(sorted(granted)),
                digest=self._digest(token),
            )
        )
        return ApiKey(key_id, tenant, name, granted, created_at, revoked=False), token

    def create_token(
        self, parent: ApiKey, scopes: Iterable[str], *, jobs: int, expires_in_s: int
    ) -> tuple[ApiKey, str]:
        """Create a short-lived key of the same tenant. Return it and its token.

        It creates at most ``jobs`` jobs. It ends after ``expires_in_s`` seconds, and is invalid
        while its parent is revoked. It is in no list and no backup.

        Raises Forbidden for a scope that the parent does not have, or if the parent is a token;
        Unauthorized if the parent was revoked meanwhile; Unavailable.
        """
        granted = frozenset(scopes)
        if parent.parent is not None:
            raise Forbidden("A token cannot create tokens.")
        if missing := granted - parent.scopes:
            raise Forbidden(f"This key does not have {', '.join(sorted(missing))} itself.")
        key_id, token = _new_token(parent.id)
        times = self._scripts.run(
            "add_token",
            id=key_id,
            parent=parent.id,
            tenant=parent.tenant,
            name=f"token of {parent.id}",
            scopes=" ".join(sorted(granted)),
            digest=self._digest(token),
            jobs=jobs,
            expires_in_s=expires_in_s,
        )
        if times is None:
            raise Unauthorized
        created_at, expires_at = map(float, times)
        return (
            ApiKey(
                id=key_id,
                tenant=parent.tenant,
                name=f"token of {parent.id}",
                scopes=granted,
                created_at=created_at,
                revoked=False,
                parent=parent.id,
                expires_at=expires_at,
                jobs_left=jobs,
            ),
            token,
        )

    def authenticate(self, token: str) -> ApiKey:
        """Return the key of ``token``, like ``admit``, without counting a request."""
        return self.admit(token, UNLIMITED)[0]

    def admit(self, token: str, quota: Quota) -> tuple[ApiKey, Allowance | None]:
        """Return the key of ``token``, and count one request of it in the same step.

        Raises Unauthorized, without a reason; Unavailable, also if there is no key at all. That
        happens after Redis was lost, and a client tries again after a 503.
        """
        match = _TOKEN.fullmatch(token)
        body, checksum = token[:-_CHECKSUM_LENGTH], token[-_CHECKSUM_LENGTH:]
        if match is None or not hmac.compare_digest(checksum, _checksum(body)):
            raise Unauthorized
        key_id = "key_" + match[1]
        digest = self._digest(token)
        any_keys, flat, counted = self._scripts.run(
            "authenticate",
            id=key_id,
            digest=digest,
            quota=quota.requests,
            window_s=quota.window_s,
        )
        if not any_keys:
            raise Unavailable("There is no API key yet")
        record = dict(zip(flat[::2], flat[1::2], strict=True))
        # Compared even if the key does not exist, so that both cases need the same time.
        right = hmac.compare_digest(digest, record.get("digest", ""))
        if not right or "revoked" in record:
            raise Unauthorized
        return _api_key(key_id, record), allowance(counted)

    def list(self, tenant: str | None = None) -> list[ApiKey]:
        """Return all keys or those of one tenant, oldest first, also revoked ones.

        Raises Unavailable.
        """
        keys = [_api_key(key_id, record) for key_id, record in self._records().items()]
        return [key for key in keys if tenant in {None, key.tenant}]

    def revoke(self, key_id: str) -> None:
        """Revoke a key for ever. A second call is no error. Raises NotFound, Unavailable."""
        if not self._record(key_id):
            raise NotFound(f"There is no key {key_id}")
        with redis_errors():
            self._redis.hset(redis_key("key", key_id), "revoked", "1")

    def webhook_secrets(self, tenant: str) -> tuple[str, ...]:
        """Return the valid secrets, newest first; the first call creates one.

        Raises Unavailable.
        """
        return self._webhook_secrets(tenant, rotate=False)

    def rotate_webhook_secret(self, tenant: str) -> str:
        """Create and return a secret. The old one stays valid for 24 hours. Raises Unavailable."""
        return self._webhook_secrets(tenant, rotate=True)[0]

    def copy(self) -> str:
        """Return all keys, seeds of webhook secrets and pins as text. Raises Unavailable."""
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
        copy: dict[str, Any] = {"keys": records, "webhooks": webhooks}
        if pins := Pins(self._scripts).all():
            copy["pins"] = pins
        return json.dumps(copy)

    def restore(self, copy: str) -> int:
        """Restore the keys of a ``copy`` that are missing. Return their number. Raises Unavailable.

        Existing keys are kept, but a key that is revoked in the copy is revoked again. Those of
        tenants that were moved to another cell are left out.
        """
        content = json.loads(copy)
        moves = Moves(self._scripts).all()
        left = {tenant for tenant, state in moves.items() if state is MoveState.LEFT}
        restored = 0
        for key_id, record in content["keys"].items():
            if record["tenant"] in left:
                continue
            flat = [part for pair in record.items() for part in pair]
            restored += self._scripts.run(
                "restore_key",
                id=key_id,
                created_at=record["created_at"],
                revoked=record.get("revoked"),
                fields=flat,
            )
        for tenant in content["webhooks"].keys() - left:
            seeds = content["webhooks"][tenant]
            flat = [part for seed, until in seeds for part in (until or "+inf", seed)]
            self._scripts.run("restore_webhooks", tenant=tenant, seeds=flat)
        pins = content.get("pins", {})
        Pins(self._scripts).restore({it: pins[it] for it in pins.keys() - left})
        return restored

    def _webhook_secrets(self, tenant: str, *, rotate: bool) -> tuple[str, ...]:
        seeds = self._scripts.run(
            "webhook_secrets",
            tenant=tenant,
            fresh=secrets.token_hex(16),
            rotate=rotate,
            overlap_s=WEBHOOK_OVERLAP_S,
        )
        return tuple(self._webhook_secret(tenant, seed) for seed in seeds)

    def _webhook_secret(self, tenant: str, seed: str) -> str:
        derived = hmac.digest(self._pepper, f"webhook {tenant} {seed}".encode(), "sha256")
        return "whsec_" + base64.b64encode(derived).decode()

    def _records(self) -> dict[str, dict[str, str]]:
        """Return the records of all keys, oldest first."""
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
    """Convert a score for JSON, which has no infinity: None means for ever."""
    return None if math.isinf(score) else score


def _api_key(key_id: str, record: dict[str, str]) -> ApiKey:
    return ApiKey(
        id=key_id,
        tenant=record["tenant"],
        name=record["name"],
        scopes=frozenset(record["scopes"].split()),
        created_at=float(record["created_at"]),
        revoked="revoked" in record,
        parent=record.get("parent"),
        jobs_left=int(record["jobs_left"]) if "jobs_left" in record else None,
        pin=record.get("pin"),
        moving=MoveState(record["moving"]) if "moving" in record else None,
    )


def _new_token(parent_id: str = "") -> tuple[str, str]:
    """Return a new id and a token with it.

    The id ends as that of its parent: a router of cells finds the tenant by this end.
    """
    key_id = new_id("key")
    if parent_id:
        key_id = key_id[:-ROUTED_DIGITS] + parent_id[-ROUTED_DIGITS:]
    body = _PREFIX + key_id.removeprefix("key_") + _random_letters(_SECRET_LENGTH)
    return key_id, body + _checksum(body)


def _random_letters(count: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(count))


def _checksum(body: str) -> str:
    """Return the CRC-32 in 6 letters. It detects typing errors; it is no protection."""
    value, letters = zlib.crc32(body.encode()), ""
    for _ in range(_CHECKSUM_LENGTH):
        value, rest = divmod(value, len(_LETTERS))
        letters += _LETTERS[rest]
    return letters
