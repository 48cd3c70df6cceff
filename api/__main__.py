"""``python -m api``: serve the API until SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal

from api import Services, create_app
from api.server import Server
from shared.errors import Unavailable
from shared.settings import load_settings
from shared.telemetry import configure_logging, flush_traces, observe_process

_log = logging.getLogger("api")
#: Objects that are created until the garbage collector looks for cycles; a request leaves few.
_OBJECTS_A_COLLECTION = 10_000


def main() -> None:
    """Raises SettingsInvalid."""
    settings = load_settings()
    configure_logging(settings, "api")
    observe_process(settings, "api")
    services = Services.connect(settings)
    try:
        services.store.check_policy()
    except Unavailable as error:
        # Redis may come later than we do; until then every answer is 503 and /readyz says so.
        _log.warning("Redis is not there yet: %s", error.detail)
    server = Server(create_app(services), services)
    gc.collect()
    gc.freeze()  # what is there now stays as long as the process: it is not looked at again
    gc.set_threshold(_OBJECTS_A_COLLECTION)
    try:
        asyncio.run(_serve(server))
    finally:
        flush_traces()


async def _serve(server: Server) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await server.serve(stop)


if __name__ == "__main__":
    main()
