"""The shadow restores finished jobs once more, in a thread of its own, and reports what differs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from shared.errors import FacemendError, OutOfMemory, WeightsMissing
from shared.jobs.job import Kind
from shared.jobs.shadow_sums import ModelPair
from tests.models import stand_in
from tests.waiting import eventually
from tests.worker.scripted import MODEL, ScriptedRestorer, restore_request
from worker.engine import FaceOptions, ModelInfo, Restoration
from worker.engine_process.request_handler import RequestHandler
from worker.engine_process.result_file import ResultFile
from worker.engine_process.shadow import MAX_WAITING, MAX_WAITING_BYTES, Shadow, is_shadowed
from worker.engine_process.shadow_report import ShadowReport
from worker.imaging.decode import Photo

NEW = replace(stand_in("new", "scripted"), sha256="1" * 64)
OLD = stand_in(MODEL, "scripted")
PAIR = ModelPair("new", NEW.sha256, MODEL, OLD.sha256)
PHOTO = Photo.of_pixels(np.full((48, 64, 3), 10, np.uint8))


class NewRestorer(ScriptedRestorer):
    """The model in the shadow."""

    def __init__(self, during: Callable[[], None] = lambda: None, info: ModelInfo = NEW) -> None:
        super().__init__(during)
        self._info = info
        self.options: list[FaceOptions] = []

    @property
    def info(self) -> ModelInfo:
        return self._info

    def restore(self, photo: Photo, options: FaceOptions, *rest: Any) -> Restoration:
        self.options.append(options)
        return super().restore(photo, options, *rest)


class Shadowed:
    """A handler whose jobs have a shadow, and the reports of it."""

    def __init__(
        self,
        restorer: NewRestorer | FacemendError,
        share: float = 1.0,
        name: str | None = "new",
        patience_s: float = 30.0,
    ) -> None:
        self.reports: list[ShadowReport] = []
        self.loaded = 0

        def load() -> NewRestorer:
            self.loaded += 1
            if isinstance(restorer, FacemendError):
                raise restorer
            return restorer

        self.shadow = Shadow(
            name,
            load,
            share=share,
            served=[OLD],
            report=self.reports.append,
            patience_s=patience_s,
        )
        self._handler = RequestHandler({MODEL: ScriptedRestorer()}, self.shadow.offer)

    def start(self, jobs_run: Callable[[], bool] = lambda: False) -> Shadowed:
        self.shadow.start(jobs_run)
        eventually(lambda: self.outcomes[-1:] in (["loaded"], ["failed"]))
        eventually(lambda: self.outcomes[-1] == "failed" or self.shadow._info is not None)
        return self

    def run(self, job_id: str = "job_1", photo: Photo = PHOTO, **parameters: Any) -> None:
        """Run a job; its result is read, so it is complete."""
        request = replace(restore_request(**parameters), job_id=job_id)
        with ResultFile(self._handler.handle(request, photo, lambda *_: None)) as result:
            assert result.metadata["model"]["name"] == MODEL

    @property
    def outcomes(self) -> list[str]:
        return [report.outcome for report in self.reports]


def test_a_job_is_restored_once_more_with_the_faces_that_were_found() -> None:
    restorer = NewRestorer()
    shadowed = Shadowed(restorer).start()
    shadowed.run(options={"strict": True, "strength": 0.5}, output={"face_crops": True})
    eventually(lambda: shadowed.outcomes == ["began", "loaded", "began", "compared"])
    report = shadowed.reports[-1]
    assert report.pair == PAIR
    figures = report.figures
    assert (figures.jobs, figures.faces, figures.compared) == (1, 1, 1)
    assert (figures.old_restored, figures.new_restored) == (1, 1)
    assert (figures.old_ms, figures.new_ms) == (2, 2)
    assert restorer.faces_found is not None
    assert restorer.faces_found[0].box == (1.0, 2.0, 30.0, 40.0)
    (options,) = restorer.options
    assert (options.strict, options.crops, options.strength) == (False, False, 0.5)


def test_the_same_jobs_are_chosen_each_time_and_about_the_share_of_them() -> None:
    ids = [f"job_{number}" for number in range(2_000)]
    chosen = [job_id for job_id in ids if is_shadowed(job_id, 0.2)]
    assert 300 < len(chosen) < 500
    assert chosen == [job_id for job_id in ids if is_shadowed(job_id, 0.2)]
    assert set(chosen) < {job_id for job_id in ids if is_shadowed(job_id, 0.4)}
    assert all(is_shadowed(job_id, 1.0) for job_id in ids)
    assert not any(is_shadowed(job_id, 0.0) for job_id in ids)


def test_a_job_outside_the_share_is_left_alone() -> None:
    restorer = NewRestorer()
    shadowed = Shadowed(restorer, share=0.5).start()
    inside, outside = (
        next(f"job_{n}" for n in range(100) if is_shadowed(f"job_{n}", 0.5) is wanted)
        for wanted in (True, False)
    )
    shadowed.run(outside)
    shadowed.run(inside)
    eventually(lambda: shadowed.outcomes[-1] == "compared")
    assert len(restorer.photos) == 1


@pytest.mark.parametrize(("share", "name"), [(0.0, "new"), (1.0, None)])
def test_without_a_share_or_a_name_nothing_is_loaded(share: float, name: str | None) -> None:
    shadowed, threads = Shadowed(NewRestorer(), share, name), set(threading.enumerate())
    shadowed.shadow.start()
    assert set(threading.enumerate()) == threads
    shadowed.run()
    assert (shadowed.loaded, shadowed.reports) == (0, [])


@pytest.mark.parametrize(
    "changes",
    [
        {"options": {"background": "x2"}},
        {"kind": Kind.DETECTION},
    ],
)
def test_jobs_without_a_comparable_result_are_left_alone(changes: dict[str, Any]) -> None:
    shadowed = Shadowed(NewRestorer()).start()
    request = replace(restore_request(), **changes)
    shadowed.shadow.offer(request, PHOTO, Restoration(PHOTO, ()), OLD)
    shadowed.run()
    eventually(lambda: shadowed.outcomes == ["began", "loaded", "began", "compared"])


def test_a_crop_aligned_for_another_template_is_left_alone() -> None:
    shadowed = Shadowed(NewRestorer(info=replace(NEW, template="gpen"))).start()
    shadowed.run(options={"aligned": True})
    shadowed.run()
    eventually(lambda: shadowed.outcomes == ["began", "loaded", "began", "compared"])


def test_jobs_for_which_there_is_no_room_are_dropped_and_counted() -> None:
    go = threading.Event()

    def wait() -> None:
        go.wait(30)

    shadowed = Shadowed(NewRestorer(wait)).start()
    shadowed.run()
    eventually(lambda: shadowed.outcomes[-1] == "began")
    for _ in range(MAX_WAITING + 2):
        shadowed.run()
    assert shadowed.outcomes[-2:] == ["dropped"] * 2
    go.set()
    eventually(lambda: shadowed.outcomes.count("compared") == 1 + MAX_WAITING)
    assert shadowed.outcomes.count("dropped") == 2


def test_it_waits_for_a_moment_without_jobs() -> None:
    running = threading.Event()
    running.set()
    shadowed = Shadowed(NewRestorer()).start(running.is_set)
    shadowed.run()
    time.sleep(0.2)
    assert shadowed.outcomes == ["began", "loaded"]
    running.clear()
    eventually(lambda: shadowed.outcomes[-1] == "compared")


def test_it_does_not_wait_for_ever() -> None:
    shadowed = Shadowed(NewRestorer(), patience_s=0.2).start(lambda: True)
    shadowed.run()
    eventually(lambda: shadowed.outcomes[-1] == "compared")


def test_a_photo_that_is_too_large_to_wait_is_dropped() -> None:
    shadowed = Shadowed(NewRestorer()).start()
    side_px = int((MAX_WAITING_BYTES / 6) ** 0.5) + 10
    huge = Photo.of_pixels(np.broadcast_to(np.uint8(10), (side_px, side_px, 3)))
    shadowed.shadow.offer(restore_request(), huge, Restoration(huge, ()), OLD)
    assert shadowed.outcomes == ["began", "loaded", "dropped"]


def _fail() -> None:
    raise ZeroDivisionError


def _need_memory() -> None:
    raise MemoryError


def _refuse() -> None:
    raise OutOfMemory


@pytest.mark.parametrize(
    ("act", "reason"),
    [(_fail, "internal"), (_need_memory, "out-of-memory"), (_refuse, "out-of-memory")],
)
def test_a_failure_is_counted_with_its_reason_and_the_next_job_has_its_turn(
    act: Callable[[], None], reason: str
) -> None:
    restorer = NewRestorer(act)
    shadowed = Shadowed(restorer).start()
    shadowed.run()
    eventually(lambda: shadowed.outcomes[-1] == "failed")
    assert (shadowed.reports[-1].reason, shadowed.reports[-1].pair) == (reason, PAIR)
    restorer.during = lambda: None
    shadowed.run()
    eventually(lambda: shadowed.outcomes[-1] == "compared")


def test_a_model_that_cannot_be_loaded_leaves_the_jobs_alone() -> None:
    shadowed = Shadowed(WeightsMissing("not here")).start()
    shadowed.run()
    assert shadowed.outcomes == ["began", "failed"]
    assert shadowed.reports[-1].reason == WeightsMissing.code


def test_a_served_model_or_one_of_another_task_is_no_shadow() -> None:
    served = Shadowed(NewRestorer(), name=MODEL).start()
    assert (served.outcomes, served.loaded) == (["began", "failed"], 0)
    colours = Shadowed(NewRestorer(info=replace(NEW, task="colorize"))).start()
    assert colours.outcomes == ["began", "failed"]
