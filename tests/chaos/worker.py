"""The product's worker with this suite's engine in it: ``python -m tests.chaos.worker``."""

from __future__ import annotations

import sys

from shared.errors import FacemendError
from shared.settings import load_settings
from shared.telemetry import configure_logging
from worker.app import EXIT_CANNOT_START, serve


def main() -> None:
    settings = load_settings()
    configure_logging(settings, "worker")
    try:
        serve(settings, load_restorers="tests.chaos.restorers:load_restorers")
    except FacemendError as error:
        sys.stderr.write(f"worker cannot start: {error.detail}\n")
        sys.exit(EXIT_CANNOT_START)


if __name__ == "__main__":
    main()
