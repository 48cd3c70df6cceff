"""Reports of unexpected errors to Sentry, if ``SENTRY_DSN`` is set.

A report has the exception, where it happened, the log message, and the ids of job and request. It
never has a photo, a URL, an API key, a header, or the value of a variable. Each text passes
``scrub``, whatever field it is in.
"""

from __future__ import annotations

import re
from typing import Any

from shared.errors import SettingsInvalid
from shared.program_version import program_version
from shared.settings import Settings
from shared.telemetry.logs import bound_fields, redact

_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s\"'<>]+", re.IGNORECASE)
_IDS = ("job_id", "request_id", "delivery_id")
#: The parts of an event that are kept. All others may hold data of a request.
_KEPT = frozenset(
    {"event_id", "timestamp", "level", "logger", "logentry", "exception", "platform", "release"}
    | {"environment", "sdk", "tags", "fingerprint", "threads", "debug_meta"}
)


def configure_error_reports(settings: Settings, process: str) -> None:
    """Report the errors that this process logs; do nothing without ``settings.sentry_dsn``.

    Raises SettingsInvalid if the package is missing or the DSN is not valid.
    """
    if settings.sentry_dsn is None:
        return
    try:
        import sentry_sdk  # noqa: PLC0415  # of the extra
        from sentry_sdk.integrations.logging import LoggingIntegration  # noqa: PLC0415
        from sentry_sdk.utils import BadDsn  # noqa: PLC0415
    except ImportError:
        raise SettingsInvalid("SENTRY_DSN needs the SDK: pip install 'facemend[sentry]'") from None
    try:
        sentry_sdk.init(
            dsn=settings.sentry_dsn.get_secret_value(),
            release=f"facemend@{program_version()}",
            default_integrations=False,  # they would read requests, arguments and variables
            integrations=[LoggingIntegration(level=None)],
            include_local_variables=False,
            include_source_context=False,
            max_request_body_size="never",
            max_breadcrumbs=0,
            send_client_reports=False,
            auto_session_tracking=False,
            before_send=_prepare,
        )
    except BadDsn as error:
        raise SettingsInvalid(f"SENTRY_DSN: {error}") from None
    sentry_sdk.set_tag("process", process)


def scrub(value: Any) -> Any:
    """Return the value with all secrets and URLs in its texts replaced."""
    if isinstance(value, str):
        return _URL.sub("[url]", redact(value))
    if isinstance(value, dict):
        return {name: scrub(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [scrub(each) for each in value]
    return value


def _prepare(event: Any, _hint: Any) -> Any:
    """Keep what is harmless of an event, and add the ids of the log line."""
    kept = {name: scrub(part) for name, part in event.items() if name in _KEPT}
    fields = bound_fields()
    kept["tags"] = kept.get("tags", {}) | {name: fields[name] for name in _IDS if name in fields}
    for name in ("exception", "threads"):
        for value in kept.get(name, {}).get("values", ()):
            for frame in (value.get("stacktrace") or {}).get("frames", ()):
                frame.pop("vars", None)
    return kept
