"""The examples run against the real API, with a thread that does the jobs."""

from __future__ import annotations

from tests.client.conftest import (  # noqa: F401  # fixtures
    api,
    api_key,
    worker,
    working,
)
