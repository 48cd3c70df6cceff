"""For gunicorn: ``api.wsgi:app``. The one module of the API that does something when imported."""

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
    # Redis may come later than we do; until then every answer is 503 and /readyz says so.
    _log.warning("Redis is not there yet: %s", error.detail)
app = create_app(services)
