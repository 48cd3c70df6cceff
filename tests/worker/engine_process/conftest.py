"""Real engine processes, and photos that select what happens to them."""

from __future__ import annotations

import dataclasses
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
from tests.worker.scripted import MODEL, restore_request
from worker.decoder import memory_file
from worker.decoder.decoded_photo import DecodedPhoto
from worker.decoder.photo_arrays import write_photo
from worker.engine_process.supervisor import EngineSupervisor
from worker.imaging.decode import Photo

RESTORERS = restorers.__name__


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        _env_file=None,
        models_dir=tmp_path,
        served_models=(MODEL,),
        model_watch_s=0.1,
        stall_s=1.0,
        engine_start_s=30.0,
        api_key_pepper="pepper-of-the-tests",  # type: ignore[arg-type]
        redis_url="redis://:password-of-the-tests@127.0.0.1:1/0",  # type: ignore[arg-type]
    )


@pytest.fixture
def start(settings: Settings) -> Iterator[Callable[..., EngineSupervisor]]:
    engines: list[EngineSupervisor] = []

    def start(load: str = "load_restorers", **changes: Any) -> EngineSupervisor:
        reports = [changes.pop(name, lambda _: None) for name in ("on_batch", "on_shadow")]
        changed = settings.model_copy(update=changes)
        engine = EngineSupervisor(changed, f"{RESTORERS}:{load}", *reports)
        engines.append(engine)
        engine.start()
        engine.wait_until_ready()
        return engine

    yield start
    for engine in engines:
        engine.close()


@pytest.fixture
def engine(start: Callable[..., EngineSupervisor]) -> EngineSupervisor:
    return start()


def go_on(*_: object) -> None:
    """The job is neither cancelled nor lost."""


def restore(engine: EngineSupervisor, act: Act, job_id: str = "job_1", **how: Any) -> np.ndarray:
    """Restore a photo that asks for this act; return the pixels of the result."""
    on_progress, check = how.pop("on_progress", go_on), how.pop("check", go_on)
    fd = memory_file.create("photo")
    write_photo(Photo.of_pixels(np.full((32, 32, 3), act, np.uint8)), fd)
    request = restore_request(output={"format": "png"})
    log_fields = how.pop("log_fields", {})
    request = dataclasses.replace(request, job_id=job_id, log_fields=log_fields)
    with DecodedPhoto(fd) as photo:
        result = engine.restore(request, photo.fd, on_progress, check, **how)
    with result:
        picture = result.pictures["restored"]
        return np.asarray(Image.open(io.BytesIO(result.read(picture))).convert("RGB"))


def crash_of(engine: EngineSupervisor, act: Act, job_id: str = "job_1") -> EngineCrashed:
    with pytest.raises(EngineCrashed) as raised:
        restore(engine, act, job_id)
    return raised.value


def assert_works(engine: EngineSupervisor) -> None:
    assert (restore(engine, Act.INVERT) == 255 - Act.INVERT).all()
