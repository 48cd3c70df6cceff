"""Faces in batches, and faces of different photos in one queue."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.candidates import CPU, open_backends
from benchmarks.report import Cell, Report
from benchmarks.timing import time_in_turns
from worker.engine.backends import Backend
from worker.engine.backends.measured_times import Figure, machine_name
from worker.engine.batching.batch_size import best_batch, measure_batches
from worker.engine.batching.batcher import Batcher
from worker.engine.devices import is_out_of_memory

_SIZES = {256: (1, 2, 4, 8), 512: (1, 2, 4)}
_AS_GOOD = 1.05  # what is chosen against the best; a mixed queue against one photo's


def measure_batching(
    report: Report, models_dir: Path, size_px: int, repetitions: int
) -> list[Figure]:
    """The figures that ``backend auto`` goes by."""
    report.section(
        f"Batches of {size_px} px faces",
        f"Milliseconds a face, by faces at a time, the best of {repetitions} repetitions in turns. "
        "Chosen: by the measurement at warm-up, which is another one than that of the table.",
    )
    sizes = _SIZES[size_px]
    backends = open_backends(models_dir, size_px)
    figures: list[Figure] = []
    rows: list[tuple[Cell, ...]] = []
    losses: dict[str, float] = {}
    for name, backend in backends.items():
        run = partial(_run, backend)
        chosen = best_batch(measure_batches(run, sizes[-1]))
        turns: dict[str, Callable[[], object]] = {str(n): partial(run, n) for n in sizes}
        times = time_in_turns(turns, repetitions)
        ms = {n: 1000 * times[str(n)].best_s / n for n in sizes}
        losses[name] = ms[chosen] / min(ms.values())
        rows.append((name, *ms.values(), chosen, losses[name]))
        figures.append(
            Figure(
                device="cpu",
                machine=machine_name(CPU),
                size_px=size_px,
                precision=backend.precision,
                backend=backend.name,
                batch=chosen,
                ms_per_face=round(ms[chosen], 1),
            )
        )
    columns = ("backend", *map(str, sizes), "chosen", "times the best")
    report.table(f"batches_{size_px}", columns, rows)
    fastest = min(figures, key=lambda each: each.ms_per_face)
    label = f"{fastest.backend} {fastest.precision}"
    report.bar(f"{size_px} {label}: chosen batch", losses[label], "<=", _AS_GOOD, "x the best")
    _compare_queues(report, backends[label], fastest.batch)
    return figures


def _run(backend: Backend, size: int) -> None:
    backend.run([np.zeros((backend.in_px, backend.in_px, 3), np.uint8)] * size)


def _compare_queues(report: Report, backend: Backend, max_batch: int) -> None:
    batcher = Batcher(
        backend.run, max_batch=max_batch, max_wait_ms=5, is_out_of_memory=is_out_of_memory
    )
    shape = (8, backend.in_px, backend.in_px, 3)
    faces = list(np.random.default_rng(1).integers(0, 256, shape, np.uint8))

    def from_one_photo() -> None:
        for future in [batcher.submit(face) for face in faces]:
            future.result()

    def from_eight_photos() -> None:
        with ThreadPoolExecutor(8) as photos:
            list(photos.map(lambda face: batcher.submit(face).result(), faces))

    times = time_in_turns({"one": from_one_photo, "eight": from_eight_photos}, 3)
    batcher.close()
    ratio = times["eight"].median_s / times["one"].median_s
    name = f"{backend.in_px}: 8 faces of 8 photos against 8 faces of one"
    report.bar(name, ratio, "<=", _AS_GOOD, "x")
