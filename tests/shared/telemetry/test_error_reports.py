from __future__ import annotations

import gzip
import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import sentry_sdk
from pydantic import SecretStr

from shared.errors import SettingsInvalid
from shared.settings import Settings
from shared.telemetry import bind, configure_error_reports
from shared.telemetry.error_reports import scrub

KEY = "fm_live_" + "0" * 32 + "SeCrEtSeCrEt"
URL = "https://photos.example/grandmother.jpg?X-Amz-Signature=abc"


@pytest.fixture
def reports() -> Iterator[list[dict[str, Any]]]:
    """The events that a Sentry server gets from this process."""
    events: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            events.append(json.loads(body.splitlines()[2]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    dsn = SecretStr(f"http://public@127.0.0.1:{server.server_address[1]}/1")
    try:
        configure_error_reports(Settings(_env_file=None, sentry_dsn=dsn), "worker")
        yield events
    finally:
        sentry_sdk.get_client().close()
        sentry_sdk.get_global_scope().set_client(None)
        server.shutdown()
        server.server_close()
        thread.join()


def decode(photo: bytes) -> None:
    raise RuntimeError(f"cannot read {len(photo)} bytes of {URL} with {KEY}")


def test_a_report_names_place_and_ids_and_has_no_photo_key_or_url(
    reports: list[dict[str, Any]],
) -> None:
    with bind(job_id="job_1", request_id="req_1", tenant="acme"):
        try:
            decode(b"pixels of a face")
        except RuntimeError:
            extra = {"url": URL, "key": KEY}
            logging.getLogger("worker").exception("failed at %s", URL, extra=extra)
    sentry_sdk.flush(5)
    (event,) = reports
    text = json.dumps(event)
    assert event["exception"]["values"][0]["type"] == "RuntimeError"
    assert "test_error_reports.py" in text
    assert event["tags"] == {"process": "worker", "job_id": "job_1", "request_id": "req_1"}
    assert event["release"].startswith("facemend@")
    for secret in ("grandmother", "photos.example", "X-Amz", "SeCrEt", "pixels", "vars"):
        assert secret not in text
    assert not event.keys() & {"request", "extra", "breadcrumbs", "server_name", "user", "modules"}


def test_lines_that_are_no_errors_are_not_reported(reports: list[dict[str, Any]]) -> None:
    logging.getLogger("worker").warning("the photo cannot be used")
    sentry_sdk.flush(5)
    assert reports == []


def test_without_a_dsn_the_sdk_is_not_started() -> None:
    configure_error_reports(Settings(_env_file=None), "api")
    assert not sentry_sdk.get_client().is_active()


def test_the_dsn_is_a_secret_and_has_two_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SENTRY_DSN", "FACEMEND_SENTRY_DSN"):
        monkeypatch.setenv(name, "https://public@sentry.example/1")
        settings = Settings(_env_file=None)
        assert settings.sentry_dsn
        assert "sentry.example" not in repr(settings)
        monkeypatch.delenv(name)


def test_a_wrong_dsn_is_named() -> None:
    with pytest.raises(SettingsInvalid, match="SENTRY_DSN"):
        configure_error_reports(Settings(_env_file=None, sentry_dsn=SecretStr("nonsense")), "api")


def test_texts_are_scrubbed_at_any_depth() -> None:
    event = {"a": [f"see {URL}", {"b": ("s3://bucket/key", 1)}], "c": f"Bearer {KEY}"}
    assert scrub(event) == {"a": ["see [url]", {"b": ["[url]", 1]}], "c": "Bearer [secret]"}
