from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from api import Services
from shared.telemetry import JsonLines


@pytest.fixture
def lines() -> Iterator[Any]:
    """Answers with the lines of the log so far, as a production process writes them."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines("api"))
    logging.getLogger().addHandler(handler)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.getLogger().removeHandler(handler)


def test_a_call_leaves_one_line_that_says_who_did_what_to_which_job(
    client: Any, submit: Any, services: Services, lines: Any
) -> None:
    job_id = submit(client).get_json()["id"]
    (key,) = services.keys.list("acme")
    answer = client.post(f"/v1/restorations/{job_id}/cancel")
    told = [line for line in lines() if line["logger"] == "api.request_log"]
    assert len(told) == 2
    line = told[-1]
    assert line["event"] == "POST /v1/restorations/<job_id>/cancel"
    assert (line["tenant"], line["key_id"], line["job_id"]) == ("acme", key.id, job_id)
    assert (line["status"], line["level"]) == (202, "info")
    assert line["request_id"] == answer.headers["X-Request-Id"]


def test_a_submission_tells_the_job_that_it_made(client: Any, submit: Any, lines: Any) -> None:
    job_id = submit(client).get_json()["id"]
    (line,) = [line for line in lines() if line["logger"] == "api.request_log"]
    assert line["job_id"] == job_id


def test_every_line_of_a_request_has_its_id_and_none_after_it(
    client: Any, submit: Any, lines: Any
) -> None:
    answer = submit(client, headers={"X-Request-Id": "edge-0123"})
    assert answer.status_code == 202
    ours = [line for line in lines() if line["logger"].startswith(("api", "shared"))]
    assert ours
    assert {line["request_id"] for line in ours} == {"edge-0123"}
    logging.getLogger("api").warning("later")
    assert "request_id" not in lines()[-1]


def test_each_change_leaves_a_line_for_the_audit_and_looking_does_not(
    client: Any, submit: Any, services: Services, lines: Any, enrol: Any
) -> None:
    (key,) = services.keys.list("acme")
    path = submit(client).headers["Location"]
    client.get(path)
    client.post(f"{path}/cancel")
    client.post(f"{path}/cancel")
    client.post(f"{path}/retry")
    enrol("other").open(path, method="DELETE")
    client.open(path, method="DELETE")
    job_id = path.rpartition("/")[2]
    told = [line for line in lines() if line["logger"] == "facemend.audit"]
    route = "/v1/restorations/<job_id>"
    assert [(line["event"], line["status"], line["tenant"]) for line in told] == [
        ("POST /v1/restorations", 202, "acme"),
        (f"POST {route}/cancel", 202, "acme"),
        (f"POST {route}/cancel", 409, "acme"),
        (f"POST {route}/retry", 202, "acme"),
        (f"DELETE {route}", 404, "other"),
        (f"DELETE {route}", 204, "acme"),
    ]
    assert {line["job_id"] for line in told} == {job_id}
    assert told[0]["key_id"] == key.id
    assert len({line["request_id"] for line in told}) == len(told)


def test_a_stranger_who_tries_to_change_something_is_in_the_audit(
    anonymous: FlaskClient, lines: Any
) -> None:
    anonymous.delete("/v1/restorations/job_" + "0" * 32)
    (line,) = [line for line in lines() if line["logger"] == "facemend.audit"]
    assert (line["status"], "key_id" in line) == (401, False)


def test_probes_do_not_fill_the_log(anonymous: FlaskClient, lines: Any) -> None:
    anonymous.get("/healthz")
    (line,) = [line for line in lines() if line["logger"] == "api.request_log"]
    assert line["level"] == "debug"
