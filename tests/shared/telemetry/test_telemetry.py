"""Logs: one event a line, bound fields, no secrets. Metrics: served on the port of the settings."""

from __future__ import annotations

import contextvars
import json
import logging
import re
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from shared.telemetry import JsonLines, TextLines, WholeLines, bind, redact
from tests.shared.conftest import at_once

ROOT = Path(__file__).resolve().parents[2]
FORMATTERS = [JsonLines, TextLines]


def line(formatter: type[logging.Formatter], message: str, *args: object, **extra: object) -> str:
    record = logging.LogRecord("api.x", logging.INFO, __file__, 1, message, args, None)
    vars(record).update(extra)
    return formatter("api").format(record)


def test_a_json_line_has_event_time_and_origin() -> None:
    event = json.loads(line(JsonLines, "job %s", "started", attempt=2))
    assert (event["event"], event["level"]) == ("job started", "info")
    assert (event["process"], event["logger"], event["attempt"]) == ("api", "api.x", 2)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", event["at"])


def test_an_extra_field_never_replaces_a_standard_one() -> None:
    with bind(process="other"):
        event = json.loads(line(JsonLines, "x", at=1.5, event="y", level=0, logger="z", count=3))
    assert (event["event"], event["level"], event["process"]) == ("x", "info", "api")
    assert (event["logger"], event["count"]) == ("api.x", 3)
    assert re.match(r"\d{4}-\d\d-\d\dT", event["at"])


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_bound_fields_are_on_every_line_of_the_block(
    formatter: type[logging.Formatter],
) -> None:
    with bind(job_id="job_1"), bind(request_id="req_1"):
        inside = line(formatter, "x")
    outside = line(formatter, "x")
    assert "job_1" in inside
    assert "req_1" in inside
    assert "job_1" not in outside


def test_threads_do_not_see_each_others_fields() -> None:
    seen: dict[str, str] = {}

    def work(name: str) -> None:
        seen[name] = line(JsonLines, "x")

    with bind(job_id="job_1"):
        stranger = threading.Thread(target=work, args=("stranger",))
        context = contextvars.copy_context()
        helper = threading.Thread(target=context.run, args=(work, "helper"))
        for thread in (stranger, helper):
            thread.start()
            thread.join()
    assert "job_1" in seen["helper"]
    assert "job_1" not in seen["stranger"]


def test_an_event_is_one_line_even_if_a_field_has_line_breaks() -> None:
    assert "\n" not in line(JsonLines, "two\nlines", thing={"a": "b\nc"}, other=object())


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_an_exception_is_logged_with_its_traceback(formatter: type[logging.Formatter]) -> None:
    try:
        int("no number")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "failed", (), sys.exc_info())
    text = formatter("worker").format(record)
    assert "ValueError: invalid literal" in text
    assert "test_telemetry.py" in text


@pytest.mark.parametrize("formatter", FORMATTERS)
@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("key fm_live_" + "0123456789abcdef" * 2 + "SECRETsecret1SECRET", "SECRETsecret1SECRET"),
        ("whsec_c2VjcmV0/c2Vj+cmV0==", "c2VjcmV0/c2Vj+cmV0=="),
        ("Authorization: Bearer abc.def-ghi", "abc.def-ghi"),
        ("http://h/k?X-Amz-Expires=900&X-Amz-Signature=abcdef0123&x=1", "abcdef0123"),
        ("http://h/k?X-Amz-Credential=AKIA%2F2026&x=1", "AKIA%2F2026"),
        ("http://h/k?sig=abcdef0123", "abcdef0123"),
        ("redis://:swordfish@10.0.0.1:6379/0", "swordfish"),
        ("https://user:swordfish@example.com/", "swordfish"),
    ],
)
def test_secrets_are_removed_from_every_field(
    formatter: type[logging.Formatter], text: str, secret: str
) -> None:
    with bind(bound=text):
        logged = line(formatter, "%s", text, extra_field={"deep": [text]})
    assert logged.count("[secret]") == 3
    assert secret not in logged


@pytest.mark.parametrize(
    "text", ["http://127.0.0.1:8000/a?x=1", "12:30:00 user@example.com", "a/b:c", "keyboard=1"]
)
def test_other_text_is_not_changed(text: str) -> None:
    assert redact(text) == text


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    return done.stderr


def test_a_configured_process_logs_to_stderr_without_debug_lines_of_libraries() -> None:
    lines = run(
        "import logging, warnings\n"
        "from shared.settings import Settings\n"
        "from shared.telemetry import bind, configure_logging\n"
        "configure_logging(Settings(_env_file=None, log_level='DEBUG'), 'worker')\n"
        "with bind(job_id='job_1'): logging.getLogger('a.b').debug('seen')\n"
        "logging.getLogger('botocore.auth').debug('headers and bodies')\n"
        "logging.getLogger('urllib3.connectionpool').debug('headers and bodies')\n"
        "warnings.warn('old')\n"
    ).splitlines()
    events = [json.loads(text) for text in lines]
    assert [event["logger"] for event in events] == ["a.b", "py.warnings"]
    assert events[0]["job_id"] == "job_1"


def test_metrics_are_served_on_the_port_of_the_settings_and_not_on_port_0() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = (
        "import threading\n"
        "from urllib.request import urlopen\n"
        "from shared.settings import Settings\n"
        "from shared.telemetry import SWEPT, start_metrics_server\n"
        "import sys\n"
        "start_metrics_server(Settings(_env_file=None, metrics_port=0))\n"
        "assert threading.active_count() == 1\n"
        f"start_metrics_server(Settings(_env_file=None, metrics_port={port}))\n"
        "SWEPT.labels('input').inc(3)\n"
        f"sys.stderr.write(urlopen('http://127.0.0.1:{port}/metrics').read().decode())\n"
    )
    assert 'facemend_swept_total{what="input"} 3.0' in run(code)


def test_every_metric_has_a_description_and_the_prefix_facemend() -> None:
    from shared import telemetry

    declared = [
        value for name, value in vars(telemetry).items() if hasattr(value, "_documentation")
    ]
    assert len(declared) >= 10
    for metric in declared:
        assert metric._name.startswith("facemend_")
        assert metric._documentation.endswith(".")
    assert {metric.name for metric in REGISTRY.collect()} >= {m._name for m in declared}


def test_lines_of_many_threads_stay_whole(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as stream:
        handler = WholeLines(stream)
        records = [logging.makeLogRecord({"msg": f"{number}" * 3000}) for number in range(8)]
        at_once(8, lambda number: [handler.handle(records[number]) for _ in range(50)])
    lines = log.read_text().splitlines()
    assert Counter(lines) == {f"{number}" * 3000: 50 for number in range(8)}


def test_lines_of_celery_about_messages_are_not_logged() -> None:
    code = (
        "import logging\n"
        "from shared.settings import Settings\n"
        "from shared.telemetry import configure_logging\n"
        "configure_logging(Settings(_env_file=None, log_level='DEBUG'), 'worker')\n"
        "logging.getLogger('celery.app.trace').info('Task x succeeded in 1s')\n"
        "logging.getLogger('celery.worker.strategy').info('Task x received')\n"
        "logging.getLogger('celery.app.trace').warning('a warning')\n"
    )
    logged = run(code)
    assert "succeeded" not in logged
    assert "received" not in logged
    assert "a warning" in logged
