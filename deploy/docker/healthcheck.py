"""Is this container healthy? ``python -m deploy.docker.healthcheck api|worker|notifier``.

Imports no torch: it runs every few seconds.
"""

from __future__ import annotations

import socket
import sys
import urllib.request

from shared.errors import FacemendError
from shared.settings import Settings, load_settings


def healthy(part: str, settings: Settings) -> bool:
    """Ask the API for its health, the store for the worker's last word, the notifier for metrics.

    Raises Unavailable when the store does not answer, OSError when nobody listens.
    """
    if part == "worker":
        from shared.jobs.store import JobStore  # noqa: PLC0415  # the others need none of it

        return JobStore.connect(settings).worker_alive(socket.gethostname())
    if part == "api":
        return _answers(f"http://127.0.0.1:{settings.api_bind.rpartition(':')[2]}/healthz")
    return _answers(f"http://127.0.0.1:{settings.metrics_port}/metrics")


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=4) as answer:
        return bool(answer.status == 200)


def main() -> None:
    """Exit with 0 when it is well, else with 1 and a line that says why."""
    try:
        if not healthy(sys.argv[1], load_settings()):
            sys.exit("not heard of lately")
    except (FacemendError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
