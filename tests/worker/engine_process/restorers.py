"""Restorers for the engine process: the first pixel of the photo says what they do."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable
from enum import IntEnum

from shared.errors import NoFaceFound, WeightsInvalid
from shared.settings import Settings
from tests.worker.scripted import MODEL, ScriptedRestorer
from worker.engine import FaceOptions, ModelInfo, Restoration
from worker.engine.batching.batch_report import BatchReport
from worker.engine.stage_timer import OnProgress
from worker.engine_process import batch_metrics
from worker.imaging.decode import Photo

# Files beside the models:
STOPPED = "stopped"  # exists after the abandoned job has stopped
GO = "go"  # jobs that wait may continue once it exists
SHADOW = "shadow"  # exists after the model of the shadow was loaded
LOAD = "load"  # a file that says ``slow`` is loaded once it exists


class Act(IntEnum):
    """The red value of the first pixel."""

    INVERT = 10
    CRASH = 20
    HANG = 30
    RUN_ON = 40
    NO_FACE = 50
    FAIL = 60
    BREAK_THE_DEVICE = 70
    RUN_OUT_OF_MEMORY = 80
    SLEEP = 90
    WAIT = 100


def _act_of(photo: Photo) -> Act:
    return Act(int(photo.pixels[0, 0, 0]))


class ActingRestorer(ScriptedRestorer):
    def __init__(self, settings: Settings, sha256: str = "0" * 64) -> None:
        super().__init__()
        self._sha256 = sha256
        self._stopped = settings.models_dir / STOPPED
        self._go = settings.models_dir / GO

    @property
    def info(self) -> ModelInfo:
        return dataclasses.replace(super().info, sha256=self._sha256)

    def restore(
        self, photo: Photo, options: FaceOptions, on_progress: OnProgress = lambda *_: None
    ) -> Restoration:
        act = _act_of(photo)
        if act is Act.RUN_ON:
            self._run_on(on_progress)
        while act is Act.WAIT and not self._go.exists():
            on_progress("restoring", 0, 1)
            time.sleep(0.02)
        report = BatchReport(
            began_at=1.5, run_s=0.75, waits_s=[0.25, 0.5], owners=["job_1", "job_2"]
        )
        batch_metrics.on_batch(MODEL, report, lambda: (3, 4))
        return super().restore(photo, options, on_progress)

    def act(self, photo: Photo) -> None:
        _ACTIONS.get(_act_of(photo), lambda: None)()

    def _run_on(self, on_progress: OnProgress) -> None:
        try:
            while True:
                on_progress("restoring", 0, 1)
                time.sleep(0.02)
        finally:
            self._stopped.touch()


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


def _run_out_of_memory() -> None:
    raise MemoryError


def _sleep() -> None:
    time.sleep(1)


_ACTIONS: dict[Act, Callable[[], None]] = {
    Act.CRASH: _crash,
    Act.HANG: _hang,
    Act.NO_FACE: _no_face,
    Act.FAIL: _fail,
    Act.BREAK_THE_DEVICE: _break_the_device,
    Act.RUN_OUT_OF_MEMORY: _run_out_of_memory,
    Act.SLEEP: _sleep,
}


def load_restorers(settings: Settings) -> dict[str, ActingRestorer]:
    return {MODEL: ActingRestorer(settings)}


class ShadowRestorer(ScriptedRestorer):
    """The model that runs in the shadow; its name says what it does with each photo."""

    def __init__(self, name: str) -> None:
        super().__init__(_ACTIONS.get(Act[name.upper()], lambda: None))
        self._name = name

    @property
    def info(self) -> ModelInfo:
        return dataclasses.replace(super().info, name=self._name, sha256="1" * 64)


def load_shadow(settings: Settings) -> ShadowRestorer:
    """``die_loading``: a model that ends the process while it is loaded."""
    name = settings.shadow_model or ""
    if name == "die_loading":
        _crash()
    settings.models_dir.joinpath(SHADOW).touch()
    return ShadowRestorer(name)


def load_file(settings: Settings) -> dict[str, ActingRestorer]:
    """The restorer of a file, whose words say what happens to those who load it."""
    data = (settings.models_dir / f"{MODEL}.safetensors").read_bytes()
    if data.startswith(b"damaged"):
        raise WeightsInvalid("the file is damaged")
    if data.startswith(b"deadly"):
        os.kill(os.getpid(), signal.SIGKILL)
    while data.startswith(b"slow") and not (settings.models_dir / LOAD).exists():
        time.sleep(0.02)
    return {MODEL: ActingRestorer(settings, hashlib.sha256(data).hexdigest())}


def load_once(settings: Settings) -> dict[str, ActingRestorer]:
    """The second process finds its weights broken."""
    loaded = settings.models_dir / "loaded"
    if loaded.exists():
        raise WeightsInvalid("the weights are not what they were")
    loaded.touch()
    return load_restorers(settings)


def load_never(settings: Settings) -> dict[str, ActingRestorer]:
    raise WeightsInvalid(f"hash of the file in {settings.models_dir} is wrong")


def die_loading(settings: Settings) -> dict[str, ActingRestorer]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def load_for_ever(settings: Settings) -> dict[str, ActingRestorer]:
    threading.Event().wait()
    return {}
