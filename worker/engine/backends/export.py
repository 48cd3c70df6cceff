"""Exports a generator to a file for other runtimes, and keeps the file only if it is correct."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from shared.errors import ModelUnavailable
from worker.engine.backends.backend import INSTALL, Backend
from worker.engine.backends.no_telemetry import disable_telemetry
from worker.engine.backends.self_check import SelfCheck
from worker.engine.devices import CPU

_RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino"}


def export(graph: Callable[[], bytes], self_check: SelfCheck, form: str, file: Path) -> float:
    """Write ``file`` (``.onnx``, or ``.xml`` with a ``.bin`` beside it) and return its error.

    ``graph`` makes the ONNX graph. The error is relative L2 against the output of the self-check,
    in float32. Raises
    ModelUnavailable, and leaves no file behind, if the error is too large, a package is missing or
    the file cannot be written.
    """
    disable_telemetry()
    part = file.with_name(f".{os.getpid()}-{file.stem}{file.suffix}")
    try:
        _write(graph, form, part)
        error = self_check.run(_open(form, part))
        for written in _files(form, part):  # weights first: readers look for the graph
            written.replace(file.with_suffix(written.suffix))
    except ImportError as missing:
        install = INSTALL[_RUNTIMES[form]]
        raise ModelUnavailable(f"{missing.name} is not installed: {install}") from None
    except OSError as problem:
        raise ModelUnavailable(f"{file} cannot be written: {problem.strerror}") from None
    finally:
        for left in _files(form, part):
            left.unlink(missing_ok=True)
    return error


def _write(graph: Callable[[], bytes], form: str, file: Path) -> None:
    data = graph()
    if form == "onnx":
        file.write_bytes(data)
        return
    from worker.engine.backends.openvino_backend import convert  # noqa: PLC0415 - needs openvino

    convert(data, file)


def _open(form: str, file: Path) -> Backend:
    if form == "onnx":
        from worker.engine.backends.onnxruntime_backend import OnnxRuntimeBackend  # noqa: PLC0415

        return OnnxRuntimeBackend(file, CPU, "fp32")
    from worker.engine.backends.openvino_backend import OpenVinoBackend  # noqa: PLC0415

    return OpenVinoBackend(file, CPU, "fp32")


def _files(form: str, file: Path) -> list[Path]:
    return [file] if form == "onnx" else [file.with_suffix(".bin"), file]
