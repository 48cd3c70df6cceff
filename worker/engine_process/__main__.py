"""The engine child: ``python -m worker.engine_process``, started by the worker alone.

It imports what is slow to import and waits until it is needed. Then it loads the models, says what
they are, and does what comes in over the control socket, each photo in a thread of its own. It ends
with the control socket, or at once with its parent.
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
from typing import TYPE_CHECKING, Any

from shared.errors import FacemendError, Internal, ModelUnavailable
from shared.settings import Settings
from shared.telemetry import bind, configure_logging
from worker.decoder.result_file import Decoded
from worker.engine_process import batch_metrics as batches
from worker.engine_process import protocol as wire
from worker.engine_process.parent_death import tether
from worker.engine_process.request import Order

if TYPE_CHECKING:
    from worker.engine_process.handler import ImageRestorer, Workbench

_log = logging.getLogger("worker.engine_process")
EXIT_DEVICE_BROKEN = 70
#: After one of these nothing works on the device any more until the process is a new one.
_BROKEN_DEVICE = ("CUDA error", "CUDA failure", "HIP error")


class _Stopped(Exception):
    """Nobody waits for this job any more."""


def main() -> None:
    """Take parent, control socket and file for last words from the command line."""
    parent, control_fd, last_words = map(int, sys.argv[1:])
    tether(parent)
    faulthandler.enable(last_words)
    control = socket.socket(fileno=control_fd)
    hello, _ = wire.receive(control)
    if hello is None:
        return
    settings = Settings(_env_file=None, **hello["settings"])
    configure_logging(settings, "engine")
    batches.send_to(lambda content: wire.send(control, content))
    try:
        load = _prepare(hello["load_restorers"])
        begin, _ = wire.receive(control)
        if begin is None:
            return
        workbench = load(settings)
    except FacemendError as error:
        wire.send(control, {"refused": wire.told(error)})
        return
    except Exception as error:  # noqa: BLE001  # whatever it is, the worker cannot start
        _log.exception("the models cannot be loaded")
        words = f"{type(error).__name__} while the models were loaded: {error}"
        wire.send(control, {"refused": wire.told(ModelUnavailable(words[:1000]))})
        return
    wire.send(control, {"models": workbench.models})
    _serve(control, workbench)
    os._exit(0)  # whatever still runs, nobody waits for it


def _prepare(load_restorers: str) -> Callable[[Settings], Workbench]:
    """Import all that loading takes; what loads."""
    from worker.engine_process.handler import Workbench  # noqa: PLC0415  # with numpy and OpenCV

    name, _, function = load_restorers.partition(":")
    module = importlib.import_module(name)
    load: Callable[[Settings], Mapping[str, ImageRestorer]] = getattr(module, function)
    if hasattr(module, "prepare"):
        module.prepare()
    return lambda settings: Workbench(load(settings))


def _serve(control: socket.socket, workbench: Workbench) -> None:
    while True:
        message, files = wire.receive(control)
        if message is None:
            return
        answers, photo = files
        job = _Job(Order(**message), socket.socket(fileno=answers), photo)
        threading.Thread(target=job.run, args=(workbench,), daemon=True).start()


class _Job:
    """One photo, from the order to the answer."""

    def __init__(self, order: Order, answers: socket.socket, photo: int) -> None:
        self._order = order
        self._answers = answers
        self._photo = photo

    def run(self, workbench: Workbench) -> None:
        with bind(job_id=self._order.job_id), self._answers:
            try:
                self._answer(workbench)
            except (_Stopped, OSError):
                _log.info("nobody waits for this job any more")

    def _answer(self, workbench: Workbench) -> None:
        try:
            finished = self._carry_out(workbench)
        except (_Stopped, BrokenPipeError):
            raise
        except FacemendError as error:
            self._tell({"error": wire.told(error)})
        except Exception as error:  # noqa: BLE001  # logged whole, the worker told nothing
            _log.exception("the engine failed")
            _leave_a_broken_device(error)
            self._tell({"error": wire.told(Internal())})
        else:
            try:
                self._tell({"finished": True}, finished)
            finally:
                os.close(finished)

    def _carry_out(self, workbench: Workbench) -> int:
        from worker.decoder.pixels import photo_of  # noqa: PLC0415  # with numpy

        try:
            decoded = Decoded(self._photo)
        except BaseException:
            os.close(self._photo)
            raise
        with decoded:
            self._tell({"thread": threading.get_ident()})  # who crashes, does so in his thread
            photo = photo_of(decoded)
        return workbench.carry_out(self._order, photo, self._progress)

    def _progress(self, stage: str, done: int, total: int | None) -> None:
        if wire.is_over(self._answers):
            raise _Stopped
        self._tell({"progress": [stage, done, total]})

    def _tell(self, message: Mapping[str, Any], *files: int) -> None:
        wire.send(self._answers, message, files)


def _leave_a_broken_device(error: BaseException | None) -> None:
    """End the process if the device is lost to it: the next one gets it anew."""
    while error is not None:
        words = str(error)
        if any(sign in words for sign in _BROKEN_DEVICE) and "out of memory" not in words:
            _log.error("the device is lost to this process")
            os._exit(EXIT_DEVICE_BROKEN)
        error = error.__cause__


if __name__ == "__main__":
    main()
