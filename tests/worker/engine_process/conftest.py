"""Real engine children, and photos that order what becomes of them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.errors import EngineCrashed
from shared.settings import Settings
from tests.worker.engine_process import restorers
from tests.worker.engine_process.restorers import Act
from tests.worker.scripted import order
from worker.decoder.pixels import pack
from worker.decoder.result_file import Decoded, memory_file
from worker.engine_process.supervisor import EngineProcess
from worker.imaging.decode import Photo

RESTORERS = restorers.__name__


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        _env_file=None,
        models_dir=tmp_path,
        stall_s=1.0,
        engine_start_s=30.0,
        api_key_pepper="pepper-of-the-tests",  # type: ignore[arg-type]
        redis_url="redis://:password-of-the-tests@127.0.0.1:1/0",  # type: ignore[arg-type]
    )


@pytest.fixture
def start(settings: Settings) -> Iterator[Callable[..., EngineProcess]]:
    engines: list[EngineProcess] = []

    def start(load: str = "load_restorers", **changes: Any) -> EngineProcess:
        batches = changes.pop("on_batch", lambda _model, _waits_s: None)
        changed = settings.model_copy(update=changes)
        engine = EngineProcess(changed, f"{RESTORERS}:{load}", batches)
        engines.append(engine)
        engine.start()
        return engine

    yield start
    for engine in engines:
        engine.close()


@pytest.fixture
def engine(start: Callable[..., EngineProcess]) -> EngineProcess:
    return start()


def go_on(*_: object) -> None:
    """Neither cancelled nor lost."""


def restore(engine: EngineProcess, act: Act, job_id: str = "job_1", **how: Any) -> np.ndarray:
    """A photo that orders this act; the pixels of what came of it."""
    on_progress, check = how.pop("on_progress", go_on), how.pop("check", go_on)
    fd = memory_file("photo")
    pack(Photo.of_pixels(np.full((32, 32, 3), act, np.uint8)), fd)
    asked = order(output={"format": "png"})
    asked = type(asked)(job_id, asked.model, asked.options, asked.output)
    with Decoded(fd) as photo:
        finished = engine.restore(asked, photo.fd, on_progress, check, **how)
    with finished:
        picture = finished.pictures["restored"]
        return np.asarray(Image.open(io.BytesIO(finished.read(picture))).convert("RGB"))


def crash_of(engine: EngineProcess, act: Act, job_id: str = "job_1") -> EngineCrashed:
    with pytest.raises(EngineCrashed) as raised:
        restore(engine, act, job_id)
    return raised.value


def assert_works(engine: EngineProcess) -> None:
    assert (restore(engine, Act.INVERT) == 255 - Act.INVERT).all()
