"""API keys and webhook secrets."""

from __future__ import annotations

import base64
import re

import pytest
from pydantic import SecretStr
from redis import Redis

from shared.errors import InvalidRequest, NotFound, SettingsInvalid, Unauthorized, Unavailable
from shared.redis.client import connect
from shared.settings import Settings
from shared.tenants.api_keys import ALL_SCOPES, KeyRing
from tests.shared.conftest import at_once, at_url, redis_time

PEPPER = SecretStr("pepper")


@pytest.fixture
def ring(redis: Redis) -> KeyRing:
    return KeyRing(redis, PEPPER)


# --- API keys -------------------------------------------------------------------------------


def test_a_key_opens_what_it_was_made_for(ring: KeyRing) -> None:
    made, token = ring.create("acme", "laptop", {"restorations:read"})
    found = ring.authenticate(token)
    assert found == made
    assert (found.tenant, found.name, found.revoked) == ("acme", "laptop", False)
    assert found.scopes == {"restorations:read"}


def test_a_token_holds_enough_chance_and_says_what_it_is(ring: KeyRing) -> None:
    tokens = {ring.create("acme", "x")[1] for _ in range(20)}
    assert len(tokens) == 20
    for token in tokens:
        assert re.fullmatch(r"fm_live_[0-9a-f]{32}[0-9A-Za-z]{38}", token)
    # 62**32 > 2**190, without the public id before it and the checksum after it


def test_redis_holds_neither_token_nor_a_hash_that_needs_no_pepper(
    ring: KeyRing, redis: Redis
) -> None:
    from hashlib import sha256

    made, token = ring.create("acme", "laptop")
    kept = str([redis.hgetall(key) for key in redis.keys("fm:key:*")])
    assert token[-38:] not in kept
    assert sha256(token.encode()).hexdigest() not in kept
    with pytest.raises(Unauthorized):
        KeyRing(redis, SecretStr("other pepper")).authenticate(token)
    assert made.id in str(redis.keys("*"))


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token[:-1],
        lambda token: token + "a",
        lambda token: token[:-1] + ("a" if token[-1] != "a" else "b"),
        lambda token: token[:45] + ("a" if token[45] != "a" else "b") + token[46:],
        lambda token: token.upper(),
        lambda token: " " + token,
        lambda token: token + "\n",
        lambda token: "",
        lambda token: "fm_live_",
        lambda token: "\u017f" + token[1:],
        lambda token: token[:8] + "\u0663" + token[9:],
    ],
)
def test_a_token_that_is_not_quite_right_never_reaches_redis(
    ring: KeyRing, settings: Settings, refused: str, change: object
) -> None:
    _, token = ring.create("acme", "laptop")
    away = KeyRing(connect(at_url(settings, refused)), PEPPER)
    with pytest.raises(Unavailable):
        away.authenticate(token)
    assert callable(change)
    with pytest.raises(Unauthorized):
        away.authenticate(change(token))


def test_an_invented_token_with_a_right_checksum_is_refused(ring: KeyRing) -> None:
    from shared.tenants.api_keys import _checksum

    made, _ = ring.create("acme", "laptop")
    for public_id in ("0" * 32, made.id.removeprefix("key_")):
        body = f"fm_live_{public_id}" + "A" * 32
        with pytest.raises(Unauthorized):
            ring.authenticate(body + _checksum(body))


def test_a_revoked_key_opens_nothing_any_more(ring: KeyRing) -> None:
    made, token = ring.create("acme", "laptop")
    _, other = ring.create("acme", "phone")
    ring.authenticate(token)
    for _ in range(2):
        ring.revoke(made.id)
    with pytest.raises(Unauthorized) as error:
        ring.authenticate(token)
    assert error.value.problem() == Unauthorized().problem()
    assert ring.authenticate(other).name == "phone"


def test_revoking_a_key_that_is_not_there_is_not_found(ring: KeyRing, redis: Redis) -> None:
    with pytest.raises(NotFound):
        ring.revoke("key_" + "0" * 32)
    assert redis.keys("*") == []


def test_keys_are_listed_oldest_first_by_tenant_or_all(ring: KeyRing) -> None:
    first, _ = ring.create("acme", "a")
    other, _ = ring.create("other", "b")
    second, _ = ring.create("acme", "c")
    ring.revoke(first.id)
    assert [key.id for key in ring.list()] == [first.id, other.id, second.id]
    assert [(key.id, key.revoked) for key in ring.list("acme")] == [
        (first.id, True),
        (second.id, False),
    ]
    assert ring.list("nobody") == []


@pytest.mark.parametrize("tenant", ["", "a:b", "a/b", "..", "A", "a b", "a" * 64, "ä", "-a", "a\n"])
def test_a_tenant_that_cannot_stand_in_keys_and_paths_is_refused(
    ring: KeyRing, tenant: str
) -> None:
    with pytest.raises(InvalidRequest):
        ring.create(tenant, "x")


@pytest.mark.parametrize("scopes", [set(), {"everything"}, {*ALL_SCOPES, "x"}])
def test_unknown_scopes_are_refused(ring: KeyRing, scopes: set[str]) -> None:
    with pytest.raises(InvalidRequest):
        ring.create("acme", "x", scopes)


def test_there_are_no_keys_without_a_pepper(redis: Redis) -> None:
    with pytest.raises(SettingsInvalid, match="FACEMEND_API_KEY_PEPPER"):
        KeyRing(redis, SecretStr(""))


# --- webhook secrets ------------------------------------------------------------------------


def test_a_tenants_secret_is_made_once(ring: KeyRing) -> None:
    found = set(at_once(8, lambda _: ring.webhook_secrets("acme")))
    assert len(found) == 1
    ((secret,),) = found
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    assert ring.webhook_secrets("other") != (secret,)


def test_a_rotated_secret_is_valid_beside_the_new_one_for_a_day(
    ring: KeyRing, redis: Redis
) -> None:
    (old,) = ring.webhook_secrets("acme")
    (seed,) = redis.zrange("fm:tenant:acme:webhook-secrets", 0, -1)
    new = ring.rotate_webhook_secret("acme")
    assert ring.webhook_secrets("acme") == (new, old)
    ends = redis.zscore("fm:tenant:acme:webhook-secrets", seed)
    assert ends == pytest.approx(redis_time(redis) + 86_400, abs=60)
    redis.zadd("fm:tenant:acme:webhook-secrets", {seed: redis_time(redis)})
    assert ring.webhook_secrets("acme") == (new,)


def test_secrets_rotated_twice_are_newest_first(ring: KeyRing) -> None:
    first = ring.rotate_webhook_secret("acme")
    second = ring.rotate_webhook_secret("acme")
    third = ring.rotate_webhook_secret("acme")
    assert ring.webhook_secrets("acme") == (third, second, first)


def test_redis_holds_no_webhook_secret(ring: KeyRing, redis: Redis) -> None:
    (secret,) = ring.webhook_secrets("acme")
    kept = str(redis.zrange("fm:tenant:acme:webhook-secrets", 0, -1))
    assert secret not in kept
    assert secret.removeprefix("whsec_") not in kept
    other = KeyRing(redis, SecretStr("other pepper"))
    assert other.webhook_secrets("acme") != (secret,)


# --- the copy -------------------------------------------------------------------------------


def test_what_redis_loses_comes_back_from_the_copy(ring: KeyRing, redis: Redis) -> None:
    made, token = ring.create("acme", "laptop", {"restorations:read"})
    revoked, gone = ring.create("other", "phone")
    ring.revoke(revoked.id)
    ring.webhook_secrets("acme")
    ring.rotate_webhook_secret("acme")
    before = ring.list(), ring.webhook_secrets("acme")
    copy = ring.copy()
    redis.flushdb()

    assert ring.restore(copy) == 2
    assert (ring.list(), ring.webhook_secrets("acme")) == before
    assert ring.authenticate(token) == made
    with pytest.raises(Unauthorized):
        ring.authenticate(gone)
    assert ring.copy() == copy
    assert ring.restore(copy) == 0


def test_the_copy_holds_no_key_and_no_secret(ring: KeyRing) -> None:
    _, token = ring.create("acme", "laptop")
    (secret,) = ring.webhook_secrets("acme")
    copy = ring.copy()
    assert token[-38:] not in copy
    assert secret.removeprefix("whsec_") not in copy


def test_restoring_takes_nothing_back_that_has_happened_since(ring: KeyRing) -> None:
    made, token = ring.create("acme", "laptop")
    ring.webhook_secrets("acme")
    copy = ring.copy()
    ring.revoke(made.id)
    rotated = ring.rotate_webhook_secret("acme")

    assert ring.restore(copy) == 0
    with pytest.raises(Unauthorized):
        ring.authenticate(token)
    assert ring.webhook_secrets("acme")[0] == rotated


def test_a_revocation_that_redis_has_lost_comes_back(ring: KeyRing, redis: Redis) -> None:
    made, token = ring.create("acme", "laptop")
    ring.revoke(made.id)
    copy = ring.copy()
    redis.hdel(f"fm:key:{made.id}", "revoked")
    ring.restore(copy)
    with pytest.raises(Unauthorized):
        ring.authenticate(token)


def test_while_there_is_no_key_at_all_a_client_is_asked_to_come_again(
    ring: KeyRing, redis: Redis
) -> None:
    _, token = ring.create("acme", "laptop")
    redis.flushdb()
    with pytest.raises(Unavailable):
        ring.authenticate(token)
    ring.create("other", "phone")
    with pytest.raises(Unauthorized):
        ring.authenticate(token)


@pytest.fixture
def away(settings: Settings, refused: str) -> KeyRing:
    return KeyRing(connect(at_url(settings, refused)), PEPPER)


def test_without_redis_every_call_is_unavailable(away: KeyRing) -> None:
    for call in (
        lambda: away.create("acme", "x"),
        away.list,
        lambda: away.revoke("key_1"),
        lambda: away.webhook_secrets("acme"),
        lambda: away.rotate_webhook_secret("acme"),
        away.copy,
    ):
        with pytest.raises(Unavailable):
            call()
