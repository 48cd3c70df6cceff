"""``facemend doctor`` finds what is wrong and says how to fix it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.settings import Settings
from tests.worker.commands.conftest import Facemend
from worker.commands.doctor import checks as doctor_checks
from worker.commands.doctor.checks import Finding, examine, worst


def settings_with(**changes: Any) -> Settings:
    return Settings(_env_file=None, **changes)


def found(findings: Iterator[Finding], name: str) -> Finding:
    return next(finding for finding in findings if finding.name == name)


def test_a_complete_installation_is_reported_line_by_line(
    facemend: Facemend, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = facemend("doctor", "--json")
    assert answer.exit_code == 0, answer.stdout
    lines = {(each["part"], each["name"]): each for each in json.loads(answer.stdout)}
    assert lines["packages", "torch"]["found"].startswith("2.")
    assert lines["devices", "cpu"]["level"] == "ok"
    assert "tiny.safetensors" in lines["weights", "tiny"]["found"]
    assert lines["weights", "gpen-bfr-512"]["next"].startswith("facemend models pull gpen-bfr-512")
    assert "self-check error" in lines["backends", "torch"]["found"]
    assert "ms per face" in lines["models", "tiny"]["found"]
    assert {line["level"] for line in lines.values()} <= {"ok", "warn"}
    assert all(line["next"] for line in lines.values() if line["level"] != "ok")


def test_a_served_model_without_weights_fails_and_all_else_is_still_reported(
    facemend: Facemend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEMEND_DEFAULT_MODEL", "gpen-bfr-512")
    monkeypatch.setenv("FACEMEND_ACCEPTED_LICENCES", "gpen-non-commercial")
    answer = facemend("doctor")
    assert answer.exit_code == 3
    said = " ".join(answer.stdout.replace("│", " ").split())
    assert "not here" in said
    assert "redis" in said
    assert "0 fail" not in said


@pytest.mark.parametrize(
    ("content", "level", "says"),
    [(None, "ok", "not here (optional)"), (b"not it", "fail", "f1002c41add9")],
)
def test_a_file_with_the_name_of_weights_is_verified_by_its_hash(
    tmp_path: Path, content: bytes | None, level: str, says: str
) -> None:
    if content:
        (tmp_path / "GPEN-BFR-512.pth").write_bytes(content)
    finding = found(doctor_checks._weights(settings_with(models_dir=tmp_path)), "gpen-bfr-512")
    assert finding.level == level
    assert says in finding.found
    assert "facemend models pull gpen-bfr-512" in finding.next


def test_a_licence_that_is_not_accepted_is_reported(tmp_path: Path) -> None:
    (tmp_path / "GPEN-BFR-256.pth").write_bytes(b"whatever was first")
    finding = found(doctor_checks._weights(settings_with(models_dir=tmp_path)), "gpen-bfr-256")
    assert finding.level == "warn"
    assert "FACEMEND_ACCEPTED_LICENCES" in finding.found


def test_servers_that_respond_are_ok(settings: Settings) -> None:
    assert found(doctor_checks._redis(settings), "redis").level == "ok"
    assert found(doctor_checks._s3(settings), "s3").level == "ok"
    nowhere = settings.model_copy(update={"s3_bucket": "no-such-bucket"})
    finding = found(doctor_checks._s3(nowhere), "s3")
    assert finding.level == "fail"
    assert "FACEMEND_S3_BUCKET" in finding.next


@pytest.mark.parametrize(
    ("check", "setting", "closed"),
    [
        (doctor_checks._redis, "redis_url", "redis://127.0.0.1:1/0"),
        (doctor_checks._s3, "s3_endpoint_url", "http://127.0.0.1:1"),
    ],
)
def test_a_configured_server_that_does_not_respond_fails(
    check: doctor_checks.Check, setting: str, closed: str
) -> None:
    keys = {"s3_access_key_id": "key", "s3_secret_access_key": "secret"}
    (finding,) = check(settings_with(**{setting: closed}, **keys))
    assert finding.level == "fail"
    assert f"FACEMEND_{setting.upper()}" in finding.next


def test_a_missing_server_without_a_setting_is_only_a_warning() -> None:
    blank = settings_with()
    unset = blank.model_copy(
        update={"redis_url": settings_with(redis_url="redis://127.0.0.1:1/0").redis_url}
    )
    unset.model_fields_set.discard("redis_url")
    (finding,) = doctor_checks._redis(unset)
    assert finding.level == "warn"
    assert "facemend up" in finding.next


def test_a_check_that_raises_is_a_finding_and_the_others_still_run(tmp_path: Path) -> None:
    broken = settings_with(device="abacus", models_dir=tmp_path, redis_url="redis://127.0.0.1:1/0")
    findings = list(examine(broken))
    assert found(iter(findings), "devices").level == "fail"
    assert "abacus" in found(iter(findings), "devices").found
    assert [each.part for each in findings][-1] == "s3"
    assert worst(findings) == "fail"
