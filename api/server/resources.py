"""What all connections share: the application, its threads, and the limits on what clients hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from flask import Flask

from api.context import Services
from api.server.fair_threads import FairThreads
from api.server.job_watch import JobWatch
from api.server.proxies import Proxies
from api.slots import Slots

Result = TypeVar("Result")

#: Bodies on their way at the same time: in all, of one key, from one address.
_BODIES, _BODIES_OF_A_KEY, _BODIES_OF_AN_ADDRESS = 512, 64, 128


class Resources:
    """Used on one event loop. Raises SettingsInvalid."""

    def __init__(self, app: Flask, services: Services) -> None:
        settings = services.settings
        self.app, self.services, self.settings = app, services, settings
        self.proxies = Proxies(settings)
        self.watch = JobWatch(services.store, services.draining)
        self.bodies_of_keys = Slots(_BODIES, _BODIES_OF_A_KEY)
        self.bodies_of_addresses = Slots(_BODIES, _BODIES_OF_AN_ADDRESS)
        #: Bytes of bodies on their way; one key has half of them at most.
        self.body_bytes = Slots(settings.max_upload_bytes, settings.max_upload_bytes // 2)
        self.threads = FairThreads(settings.api_threads)
        self._background = ThreadPoolExecutor(4, thread_name_prefix="background")
        self._disk = ThreadPoolExecutor(2, thread_name_prefix="disk")

    async def in_thread(
        self, environ: dict[str, Any], call: Callable[..., Result], *args: Any
    ) -> Result:
        """Run a part of the application, which may wait for Redis and S3, for one request."""
        client = environ.get("HTTP_AUTHORIZATION") or environ["REMOTE_ADDR"]
        return await self.threads.run(client, call, *args)

    async def in_background(self, call: Callable[..., Result], *args: Any) -> Result:
        """Run what continues an answer: new requests do not stand in line behind it."""
        return await asyncio.get_running_loop().run_in_executor(self._background, call, *args)

    def start_in_background(self, call: Callable[[], None]) -> None:
        """Run what nobody waits for."""
        self._background.submit(call)

    async def on_disk(self, call: Callable[..., Result], *args: Any) -> Result:
        """Run what may wait for a disk."""
        return await asyncio.get_running_loop().run_in_executor(self._disk, call, *args)

    def close(self) -> None:
        """Start nothing new. Calls that run end by themselves."""
        self.threads.close()
        self._background.shutdown(wait=False, cancel_futures=True)
        self._disk.shutdown(wait=False, cancel_futures=True)
        self.watch.close()
