"""The product's worker with restorers that obey: ``python -m tests.worker.serving FUNCTION``."""

from __future__ import annotations

import sys

from shared.errors import FacemendError
from shared.settings import load_settings
from shared.telemetry import configure_logging
from worker.app import serve


def main() -> None:
    settings = load_settings()
    configure_logging(settings, "worker")
    try:
        serve(settings, f"tests.worker.engine_process.restorers:{sys.argv[1]}")
    except FacemendError as error:
        sys.stderr.write(f"cannot start: {error.detail}\n")
        sys.exit(3)


if __name__ == "__main__":
    main()
