from __future__ import annotations

import logging
from typing import Any

import pytest
from flask.testing import FlaskClient

from api import Services
from shared.jobs.job import Job


def test_a_request_logs_one_line_with_caller_action_and_job(
    client: Any, submit: Any, services: Services, log_lines: Any
) -> None:
    job_id = submit(client).get_json()["id"]
    (key,) = services.keys.list("acme")
    answer = client.post(f"/v1/restorations/{job_id}/cancel")
    reported = [line for line in log_lines() if line["logger"] == "api.request_log"]
    assert len(reported) == 2
    line = reported[-1]
    assert line["event"] == "POST /v1/restorations/<job_id>/cancel"
    assert (line["tenant"], line["key_id"], line["job_id"]) == ("acme", key.id, job_id)
    assert (line["status"], line["level"]) == (202, "info")
    assert line["request_id"] == answer.headers["X-Request-Id"]


def test_the_line_of_a_submission_has_the_id_of_its_job(
    client: Any, submit: Any, log_lines: Any
) -> None:
    job_id = submit(client).get_json()["id"]
    (line,) = [line for line in log_lines() if line["logger"] == "api.request_log"]
    assert line["job_id"] == job_id


def test_every_line_of_a_request_has_its_id_and_none_after_it(
    client: Any, submit: Any, log_lines: Any
) -> None:
    answer = submit(client, headers={"X-Request-Id": "edge-0123"})
    assert answer.status_code == 202
    ours = [line for line in log_lines() if line["logger"].startswith(("api", "shared"))]
    assert ours
    assert {line["request_id"] for line in ours} == {"edge-0123"}
    logging.getLogger("api").warning("later")
    assert "request_id" not in log_lines()[-1]


def test_each_change_is_in_the_audit_log_and_reading_is_not(
    client: Any, submit: Any, services: Services, log_lines: Any, enrol: Any
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
    reported = [line for line in log_lines() if line["logger"] == "facemend.audit"]
    route = "/v1/restorations/<job_id>"
    assert [(line["event"], line["status"], line["tenant"]) for line in reported] == [
        ("POST /v1/restorations", 202, "acme"),
        (f"POST {route}/cancel", 202, "acme"),
        (f"POST {route}/cancel", 409, "acme"),
        (f"POST {route}/retry", 202, "acme"),
        (f"DELETE {route}", 404, "other"),
        (f"DELETE {route}", 204, "acme"),
    ]
    assert {line["job_id"] for line in reported} == {job_id}
    assert reported[0]["key_id"] == key.id
    assert len({line["request_id"] for line in reported}) == len(reported)


def test_a_change_without_a_valid_key_is_in_the_audit_log(
    anonymous: FlaskClient, log_lines: Any
) -> None:
    anonymous.delete("/v1/restorations/job_" + "0" * 32)
    (line,) = [line for line in log_lines() if line["logger"] == "facemend.audit"]
    assert (line["status"], "key_id" in line) == (401, False)


def test_health_checks_are_not_logged(anonymous: FlaskClient, log_lines: Any) -> None:
    anonymous.get("/healthz")
    (line,) = [line for line in log_lines() if line["logger"] == "api.request_log"]
    assert line["level"] == "debug"


def test_every_line_after_the_check_of_the_key_has_tenant_and_job(
    client: Any, submit: Any, log_lines: Any, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit(client, headers={"X-Request-Id": "edge-0123"}).get_json()["id"]
    job = services.store.get("acme", job_id)
    assert job.request_id == "edge-0123"

    def get(*_: str) -> Job:
        logging.getLogger("shared.jobs").warning("deep inside")
        return job

    monkeypatch.setattr(services.store, "get", get)
    client.get(f"/v1/restorations/{job_id}")
    (line,) = [line for line in log_lines() if line["event"] == "deep inside"]
    assert (line["tenant"], line["job_id"]) == ("acme", job_id)
    assert {"request_id", "key_id"} <= line.keys()
