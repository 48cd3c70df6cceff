"""Restorers for the engine's process: what they do is written in the photo's first pixel."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from enum import IntEnum

from shared.errors import NoFaceFound, WeightsInvalid
from shared.settings import Settings
from tests.worker.scripted import MODEL, ScriptedRestorer
from worker.engine import FaceOptions, Restoration
from worker.engine_process import batch_metrics as batches
from worker.engine_process.handler import OnProgress
from worker.imaging.decode import Photo

# Files beside the models:
FORGOTTEN = "stopped"  # the job that nobody waited for has heard of it
GO = "go"  # those that wait need not wait any longer


class Act(IntEnum):
    """The first pixel's red."""

    INVERT = 10
    CRASH = 20
    HANG = 30
    GO_ON_AND_ON = 40
    NO_FACE = 50
    FAIL = 60
    BREAK_THE_DEVICE = 70
    STARVE = 80
    REST = 90
    WAIT = 100


def _act_of(photo: Photo) -> Act:
    return Act(int(photo.pixels[0, 0, 0]))


class ObedientRestorer(ScriptedRestorer):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._forgotten = settings.models_dir / FORGOTTEN
        self._go = settings.models_dir / GO

    def restore(
        self, photo: Photo, options: FaceOptions, on_progress: OnProgress = lambda *_: None
    ) -> Restoration:
        act = _act_of(photo)
        if act is Act.GO_ON_AND_ON:
            self._go_on_and_on(on_progress)
        while act is Act.WAIT and not self._go.exists():
            on_progress("restoring", 0, 1)
            time.sleep(0.02)
        batches.made(MODEL, [0.25, 0.5])
        return super().restore(photo, options, on_progress)

    def act(self, photo: Photo) -> None:
        _DEEDS.get(_act_of(photo), lambda: None)()

    def _go_on_and_on(self, on_progress: OnProgress) -> None:
        try:
            while True:
                on_progress("restoring", 0, 1)
                time.sleep(0.02)
        finally:
            self._forgotten.touch()


def _crash() -> None:
    signal.raise_signal(signal.SIGSEGV)


def _hang() -> None:
    threading.Event().wait()


def _no_face() -> None:
    raise NoFaceFound("not a soul")


def _fail() -> None:
    raise ZeroDivisionError("the secret of the engine")


def _break_the_device() -> None:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def _starve() -> None:
    raise MemoryError


def _rest() -> None:
    time.sleep(1)


_DEEDS: dict[Act, Callable[[], None]] = {
    Act.CRASH: _crash,
    Act.HANG: _hang,
    Act.NO_FACE: _no_face,
    Act.FAIL: _fail,
    Act.BREAK_THE_DEVICE: _break_the_device,
    Act.STARVE: _starve,
    Act.REST: _rest,
}


def load_restorers(settings: Settings) -> dict[str, ObedientRestorer]:
    return {MODEL: ObedientRestorer(settings)}


def load_once(settings: Settings) -> dict[str, ObedientRestorer]:
    """The second process finds its weights broken."""
    loaded = settings.models_dir / "loaded"
    if loaded.exists():
        raise WeightsInvalid("the weights are not what they were")
    loaded.touch()
    return load_restorers(settings)


def load_never(settings: Settings) -> dict[str, ObedientRestorer]:
    raise WeightsInvalid(f"hash of the file in {settings.models_dir} is wrong")


def die_loading(settings: Settings) -> dict[str, ObedientRestorer]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def load_for_ever(settings: Settings) -> dict[str, ObedientRestorer]:
    threading.Event().wait()
    return {}
