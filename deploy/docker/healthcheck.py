"""Health check of a container: ``python -m deploy.docker.healthcheck api|worker|notifier``.

It runs every few seconds, so it does not import torch. With ``--redis-optional``, a worker is also
healthy while Redis does not respond: for a liveness probe, as a restart would not bring Redis back.
"""

from __future__ import annotations

import socket
import sys
import urllib.request

from shared.errors import FacemendError, Unavailable
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
    part, *options = sys.argv[1:]
    try:
        if not healthy(part, load_settings()):
            sys.exit("the process has not announced itself recently")
    except Unavailable as error:
        if "--redis-optional" not in options:
            sys.exit(str(error))
    except (FacemendError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
