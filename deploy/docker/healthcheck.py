"""Health check of a container: ``python -m deploy.docker.healthcheck api|worker|notifier``.

It runs every few seconds, so it does not import torch.
"""

from __future__ import annotations

import socket
import sys
import urllib.request

from shared.errors import FacemendError
from shared.settings import Settings, load_settings


def healthy(part: str, settings: Settings) -> bool:
    """Check the API by its probe, a worker by its last announcement, the notifier by its metrics.

    Raises Unavailable if Redis does not respond, and OSError if the process does not listen.
    """
    if part == "worker":
        from shared.jobs.store import JobStore  # noqa: PLC0415  # the others need none of it

        return JobStore.connect(settings).workers.alive(socket.gethostname())
    if part == "api":
        return _responds(f"http://127.0.0.1:{settings.api_bind.rpartition(':')[2]}/healthz")
    return _responds(f"http://127.0.0.1:{settings.metrics_port}/metrics")


def _responds(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=4) as response:
        return bool(response.status == 200)


def main() -> None:
    """Exit with 0 if the process is healthy, else with 1 and a line that says why."""
    try:
        if not healthy(sys.argv[1], load_settings()):
            sys.exit("the process has not announced itself recently")
    except (FacemendError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
