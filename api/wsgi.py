"""The application for the HTTP server: ``api.wsgi:app``. Importing this module makes it."""

from __future__ import annotations

import logging

from api import Services, create_app
from shared.errors import Unavailable
from shared.settings import load_settings
from shared.telemetry import configure_logging

_log = logging.getLogger(__name__)

settings = load_settings()
configure_logging(settings, "api")
services = Services.connect(settings)
try:
    services.store.check_policy()
except Unavailable as error:
    # Redis may start later. Until then every response is 503, and /readyz says so.
    _log.warning("Redis is not available yet: %s", error.detail)
app = create_app(services)
