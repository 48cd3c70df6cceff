"""Short-lived keys: narrower than the key that creates them, and limited to some jobs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from redis import Redis

from api import Services
from shared.jobs.store import JobStore
from shared.redis.keys import redis_key
from shared.storage.bucket import ObjectStorage
from tests.api.conftest import Authorised, Enrol
from tests.shared.conftest import at_once, redis_time

Problem = Callable[[Any], tuple[int, str]]
Submit = Callable[..., Any]
Create = Callable[..., Authorised]

READ, WRITE = "restorations:read", "restorations:write"


@pytest.fixture
def token_of() -> Create:
    """Create a token and return a client that sends it."""

    def create(client: Authorised, **wanted: Any) -> Authorised:
        answer = client.post("/v1/tokens", json=wanted)
        assert answer.status_code == 201, answer.data
        return Authorised(client.client, answer.get_json()["token"])

    return create


def test_a_token_works_as_a_key_of_the_same_tenant(
    client: Authorised, token_of: Create, submit: Submit
) -> None:
    job_id = submit(token_of(client)).get_json()["id"]
    assert client.get(f"/v1/restorations/{job_id}").status_code == 200


def test_the_response_says_what_the_token_may_do(client: Authorised, redis: Redis) -> None:
    wanted = {"scopes": [WRITE, READ], "jobs": 3, "expires_in_s": 600}
    answer = client.post("/v1/tokens", json=wanted)
    token = answer.get_json()
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert (token["object"], token["scopes"], token["jobs"]) == ("token", [READ, WRITE], 3)
    left_s = datetime.fromisoformat(token["expires_at"]).timestamp() - redis_time(redis)
    assert 540 < left_s <= 600


def test_a_token_may_do_only_what_its_scopes_allow(
    client: Authorised, token_of: Create, submit: Submit, problem: Problem
) -> None:
    writer = token_of(client, scopes=[WRITE])
    assert submit(writer).status_code == 202
    assert problem(writer.get("/v1/restorations")) == (403, "forbidden")
    reader = token_of(client, scopes=[READ])
    assert problem(submit(reader)) == (403, "forbidden")


def test_a_key_cannot_give_a_scope_that_it_does_not_have(enrol: Enrol, problem: Problem) -> None:
    writer = enrol("acme", frozenset({WRITE}))
    answer = writer.post("/v1/tokens", json={"scopes": [WRITE, "admin"]})
    assert problem(answer) == (403, "forbidden")
    assert "admin" in answer.get_json()["detail"]


def test_a_token_cannot_create_tokens(
    client: Authorised, token_of: Create, problem: Problem
) -> None:
    assert problem(token_of(client).post("/v1/tokens", json={})) == (403, "forbidden")


def test_a_token_creates_no_more_jobs_than_it_may(
    client: Authorised,
    token_of: Create,
    submit: Submit,
    problem: Problem,
    storage: ObjectStorage,
) -> None:
    token = token_of(client, jobs=2)
    assert [submit(token).status_code for _ in range(2)] == [202, 202]
    stored = len(list(storage.list("")))
    assert problem(submit(token)) == (403, "forbidden")
    assert len(list(storage.list(""))) == stored
    assert submit(client).status_code == 202


def test_the_number_of_jobs_holds_for_requests_at_the_same_time(
    client: Authorised, token_of: Create, submit: Submit, store: JobStore, storage: ObjectStorage
) -> None:
    token = token_of(client, jobs=3)
    answers = at_once(8, lambda _: submit(token))
    assert sorted(answer.status_code for answer in answers) == [202] * 3 + [403] * 5
    assert len(store.page("acme")[0]) == 3
    assert len(list(storage.list("tenants/acme/inputs/"))) == 3


def test_a_repeated_request_costs_no_second_job(
    client: Authorised, token_of: Create, submit: Submit
) -> None:
    token = token_of(client, jobs=1)
    first, again = (submit(token, headers={"Idempotency-Key": "a"}) for _ in range(2))
    assert first.get_json()["id"] == again.get_json()["id"]


def test_a_refused_request_costs_no_job(
    client: Authorised, token_of: Create, submit: Submit, problem: Problem
) -> None:
    token = token_of(client, jobs=1)
    wrong = {"input": {"key": "missing.jpg"}}
    assert problem(token.post("/v1/restorations", json=wrong)) == (422, "input-not-found")
    assert submit(token).status_code == 202


def test_a_retry_counts_as_a_job(
    client: Authorised, token_of: Create, submit: Submit, problem: Problem
) -> None:
    token = token_of(client, jobs=2)
    path = submit(token).headers["Location"]
    for expected in (202, 403):
        client.post(f"{path}/cancel")
        assert token.post(f"{path}/retry").status_code == expected
    assert client.post(f"{path}/retry").status_code == 202


def test_a_token_ends_after_its_time(
    client: Authorised, token_of: Create, problem: Problem, redis: Redis
) -> None:
    token = token_of(client, expires_in_s=60)
    key_id = "key_" + token.secret.removeprefix("fm_live_")[:32]
    assert 0 < redis.ttl(redis_key("key", key_id)) <= 60
    redis.pexpire(redis_key("key", key_id), 0)
    assert problem(token.get("/v1/models")) == (401, "unauthorized")


def test_a_token_ends_with_its_key_and_can_be_revoked_alone(
    client: Authorised, token_of: Create, services: Services, problem: Problem
) -> None:
    one, other = token_of(client), token_of(client)
    services.keys.revoke("key_" + one.secret.removeprefix("fm_live_")[:32])
    assert problem(one.get("/v1/models")) == (401, "unauthorized")
    assert other.get("/v1/models").status_code == 200
    (parent,) = services.keys.list("acme")
    services.keys.revoke(parent.id)
    assert problem(other.get("/v1/models")) == (401, "unauthorized")


def test_tokens_are_in_no_list_and_no_backup(
    client: Authorised, token_of: Create, services: Services
) -> None:
    before = services.keys.copy()
    token_of(client)
    assert services.keys.copy() == before
    assert len(services.keys.list("acme")) == 1


def test_the_jobs_of_a_token_count_for_its_key(
    client: Authorised, token_of: Create, submit: Submit
) -> None:
    token = token_of(client)
    submit(token)
    mine, its = (each.get("/v1/usage").get_json() for each in (client, token))
    assert mine["jobs"]["created"] == its["jobs"]["created"] == 1
    assert mine["key_id"] == its["key_id"]


def test_a_token_sees_nothing_of_another_tenant(
    client: Authorised, enrol: Enrol, token_of: Create, submit: Submit, problem: Problem
) -> None:
    path = submit(client).headers["Location"]
    assert problem(token_of(enrol("globex")).get(path)) == (404, "not-found")


@pytest.mark.parametrize(
    ("wanted", "pointer"),
    [
        ({"scopes": []}, "/scopes"),
        ({"scopes": ["everything"]}, "/scopes/0"),
        ({"jobs": 0}, "/jobs"),
        ({"jobs": 10_001}, "/jobs"),
        ({"expires_in_s": 59}, "/expires_in_s"),
        ({"expires_in_s": 86_401}, "/expires_in_s"),
        ({"tenant": "globex"}, "/tenant"),
    ],
)
def test_a_wrong_field_is_named(
    client: Authorised, problem: Problem, wanted: dict[str, Any], pointer: str
) -> None:
    answer = client.post("/v1/tokens", json=wanted)
    assert problem(answer) == (422, "invalid-request")
    assert [error["pointer"] for error in answer.get_json()["errors"]] == [pointer]
