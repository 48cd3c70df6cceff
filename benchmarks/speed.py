"""Time and error of one face with each backend, compared with the peer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.candidates import open_backends
from benchmarks.faces import real_faces
from benchmarks.golden import CONFIGS, golden_error, golden_images, golden_state
from benchmarks.peer import Peer
from benchmarks.report import Report
from benchmarks.timing import Times, time_in_turns
from worker.engine.backends.backend import Backend
from worker.training.measure.metrics import psnr

_PEER = "peer: weights per face, grouped convolutions, NCHW"
_MIN_SPEEDUPS = {256: (3.0, 7.0), 512: (3.0, 8.0)}  # over the peer: exact mode, fast mode
_MAX_ERRORS = (1e-5, 2e-2)
_MIN_PSNR_DB = 38.0


def measure_speed(report: Report, models_dir: Path, size_px: int, repetitions: int) -> None:
    """Measure time, error against the golden vector, and PSNR on real faces."""
    backends = open_backends(models_dir, size_px)
    peer = Peer(golden_state(CONFIGS[size_px]))
    image = golden_images(size_px)
    tensor = torch.from_numpy(image)
    candidates: dict[str, Callable[[], object]] = {_PEER: lambda: peer(tensor)}
    errors = {_PEER: golden_error(peer(tensor), size_px)}
    for name, backend in backends.items():
        candidates[name] = lambda backend=backend: backend.infer(image)  # type: ignore[misc]
        errors[name] = golden_error(backend.infer(image), size_px)
    times = time_in_turns(candidates, repetitions)
    lowest_psnr = _psnr_on_real_faces(backends, size_px)
    report.section(
        f"GPEN-BFR-{size_px}, one face",
        f"Median of {repetitions} repetitions, in turns; relative L2 error against the "
        "golden vector; PSNR of the worst real face, compared with exact mode.",
    )
    peer_s = times[_PEER].median_s
    report.table(
        f"speed_{size_px}",
        ("backend", "ms", "spread", "times the peer", "error", "PSNR dB"),
        [
            (
                name,
                1000 * each.median_s,
                f"{100 * each.spread:.0f} %",
                peer_s / each.median_s,
                errors[name],
                lowest_psnr.get(name),
            )
            for name, each in times.items()
        ],
    )
    _require_speed(report, size_px, times, errors, lowest_psnr)


def _require_speed(
    report: Report,
    size_px: int,
    times: dict[str, Times],
    errors: dict[str, float],
    lowest_psnr: dict[str, float],
) -> None:
    for mode, ratio, bound in zip(
        ("exact", "fast"), _MIN_SPEEDUPS[size_px], _MAX_ERRORS, strict=True
    ):
        accurate = [name for name in times if name != _PEER and errors[name] <= bound]
        best = min(accurate, key=lambda name: times[name].median_s)
        gain = times[_PEER].median_s / times[best].median_s
        report.require(f"{size_px} {mode} mode ({best})", gain, ">=", ratio, "x")
        report.require(f"{size_px} {mode} mode, error", errors[best], "<=", bound)
        if mode == "fast" and best in lowest_psnr:
            report.require(
                f"{size_px} fast mode, PSNR on real faces",
                lowest_psnr[best],
                ">=",
                _MIN_PSNR_DB,
                " dB",
            )


def _psnr_on_real_faces(backends: dict[str, Backend], size_px: int) -> dict[str, float]:
    """Return the lowest PSNR of all faces by backend: 8-bit output against torch in float32."""
    worst = dict.fromkeys(backends, float("inf"))
    exact = backends["torch fp32"]
    for face in real_faces(size_px):
        (expected,) = exact.run([face])
        for name, backend in backends.items():
            (found,) = backend.run([face])
            if expected is not None and found is not None and backend.precision != "fp32":
                worst[name] = min(worst[name], psnr(found, expected))
    return {name: value for name, value in worst.items() if value != float("inf")}
