"""The program of the engine process: ``python -m worker.engine_process``, started by the worker.

It imports what is slow to import, and waits. When the worker asks, it loads the models, reports
them, and then restores the photos that come over the control socket, each in its own thread. It
exits when the control socket closes, and dies with the worker.
"""

from __future__ import annotations

import faulthandler
import importlib
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from shared.errors import FacemendError, Internal, ModelUnavailable
from shared.settings import Settings
from shared.telemetry import bind, configure_logging
from worker.decoder.decoded_photo import DecodedPhoto
from worker.engine_process import batch_metrics, protocol
from worker.engine_process.lost_device import exit_if_device_is_broken
from worker.engine_process.protocol import RestoreRequest
from worker.engine_process.spawn import prepare_spawned_process

if TYPE_CHECKING:
    from worker.engine_process.request_handler import ImageRestorer, RequestHandler
    from worker.engine_process.shadow import Shadow
    from worker.engine_process.shadow_report import ShadowReport

_log = logging.getLogger("worker.engine_process")


class _Stopped(Exception):
    """The worker does not wait for this job any more."""


def main() -> None:
    """Run with three arguments: the worker's pid, the control socket, the file for crash output."""
    worker_pid, control_fd, crash_output = map(int, sys.argv[1:])
    prepare_spawned_process(worker_pid)
    faulthandler.enable(crash_output)
    control = socket.socket(fileno=control_fd)
    first, _ = protocol.receive(control)
    if first is None:
        return
    settings = Settings(_env_file=None, **first["settings"])
    configure_logging(settings, "engine")
    batch_metrics.send_with(lambda content: protocol.send(control, content))
    try:
        load = _import_loader(first["load_restorers"], control)
        load_request, _ = protocol.receive(control)
        if load_request is None:
            return
        if not load_request["shadow"]:
            settings = settings.model_copy(update={"shadow_model": None})
        handler, shadow = load(settings)
    except FacemendError as error:
        protocol.send(control, {"load_error": protocol.encode_error(error)})
        return
    except Exception as error:  # noqa: BLE001  # whatever it is, the worker cannot start
        _log.exception("the models cannot be loaded")
        words = f"{type(error).__name__} while the models were loaded: {error}"
        protocol.send(
            control, {"load_error": protocol.encode_error(ModelUnavailable(words[:1000]))}
        )
        return
    protocol.send(control, {"models": handler.models})
    shadow.start(handler.is_busy)
    _serve(control, handler)
    os._exit(0)  # jobs that still run have no reader any more


def _import_loader(
    load_restorers: str, control: socket.socket
) -> Callable[[Settings], tuple[RequestHandler, Shadow]]:
    """Import everything that loading needs; return the function that loads."""
    from worker.engine_process.request_handler import RequestHandler  # noqa: PLC0415  # with numpy
    from worker.engine_process.shadow import Shadow  # noqa: PLC0415  # with numpy

    name, _, function = load_restorers.partition(":")
    module = importlib.import_module(name)
    load: Callable[[Settings], Mapping[str, ImageRestorer]] = getattr(module, function)
    if hasattr(module, "prepare"):
        module.prepare()

    def report(content: ShadowReport) -> None:
        with suppress(OSError):  # the worker is gone, so this process ends too
            protocol.send(control, {"shadow": asdict(content)})

    def load_all(settings: Settings) -> tuple[RequestHandler, Shadow]:
        restorers = load(settings)
        shadow = Shadow(
            settings.shadow_model if hasattr(module, "load_shadow") else None,
            lambda: module.load_shadow(settings),
            share=settings.shadow_share,
            served=[restorer.info for restorer in restorers.values()],
            report=report,
        )
        return RequestHandler(restorers, shadow.offer), shadow

    return load_all


def _serve(control: socket.socket, handler: RequestHandler) -> None:
    """Run each request in its own thread, until the worker closes the control socket."""
    while True:
        message, files = protocol.receive(control)
        if message is None:
            return
        replies, photo = files
        job = _Job(RestoreRequest(**message), socket.socket(fileno=replies), photo)
        threading.Thread(target=job.run, args=(handler,), daemon=True).start()


class _Job:
    """One photo, from the request to the reply."""

    def __init__(self, request: RestoreRequest, replies: socket.socket, photo: int) -> None:
        self._request = request
        self._replies = replies
        self._photo = photo

    def run(self, handler: RequestHandler) -> None:
        fields = {"job_id": self._request.job_id} | self._request.log_fields
        with bind(**fields), self._replies:
            try:
                self._reply(handler)
            except (_Stopped, OSError):
                _log.info("the job was stopped: the worker does not wait for it any more")

    def _reply(self, handler: RequestHandler) -> None:
        try:
            result = self._restore(handler)
        except (_Stopped, BrokenPipeError):
            raise
        except FacemendError as error:
            self._send({"error": protocol.encode_error(error)})
        except Exception as error:  # noqa: BLE001  # the log gets the details, the worker none
            _log.exception("the engine failed")
            exit_if_device_is_broken(error)
            self._send({"error": protocol.encode_error(Internal())})
        else:
            try:
                self._send({"result": True}, result)
            finally:
                os.close(result)

    def _restore(self, handler: RequestHandler) -> int:
        from worker.decoder.photo_arrays import photo_of  # noqa: PLC0415  # with numpy

        try:
            decoded = DecodedPhoto(self._photo)
        except BaseException:
            os.close(self._photo)
            raise
        with decoded:
            self._send({"thread": threading.get_ident()})  # a crash report names the thread
            photo = photo_of(decoded)
        return handler.handle(self._request, photo, self._on_progress)

    def _on_progress(self, stage: str, done: int, total: int | None) -> None:
        if protocol.is_over(self._replies):
            raise _Stopped
        self._send({"progress": [stage, done, total]})

    def _send(self, message: Mapping[str, Any], *files: int) -> None:
        protocol.send(self._replies, message, files)


if __name__ == "__main__":
    main()
