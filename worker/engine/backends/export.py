"""A generator into a file that other runtimes read, kept only if it answers as torch does."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from shared.errors import ModelUnavailable
from worker.engine.backends import INSTALL, Backend
from worker.engine.backends.self_check import Proof
from worker.engine.gpen.networks import Generator

_RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino"}


def export(generator: Generator, proof: Proof, form: str, file: Path) -> float:
    """Write ``file`` (``.onnx``, or ``.xml`` with a ``.bin`` beside it); answers its error.

    The error is relative L2 against torch on the proof's input, in float32. Raises
    ModelUnavailable, and leaves nothing behind, when that is too large, when a package is missing,
    and when the file cannot be written.
    """
    part = file.with_name(f".{os.getpid()}-{file.stem}{file.suffix}")
    try:
        _write(generator, form, part)
        error = proof.check(_open(form, part))
        for made in _files(form, part):  # the weights first: the graph is what is looked for
            made.replace(file.with_suffix(made.suffix))
    except ImportError as missing:
        cure = INSTALL[_RUNTIMES[form]]
        raise ModelUnavailable(f"{missing.name} is not installed: {cure}") from None
    except OSError as problem:
        raise ModelUnavailable(f"{file} cannot be written: {problem.strerror}") from None
    finally:
        for left in _files(form, part):
            left.unlink(missing_ok=True)
    return error


def _write(generator: Generator, form: str, file: Path) -> None:
    from worker.engine.backends.onnx_graph import build_graph  # noqa: PLC0415 - needs onnx

    data = build_graph(generator).SerializeToString()
    if form == "onnx":
        file.write_bytes(data)
        return
    from worker.engine.backends.openvino_backend import convert  # noqa: PLC0415 - needs openvino

    convert(data, file)


def _open(form: str, file: Path) -> Backend:
    device = torch.device("cpu")
    if form == "onnx":
        from worker.engine.backends.onnxruntime_backend import OnnxRuntimeBackend  # noqa: PLC0415

        return OnnxRuntimeBackend(file, device, "fp32")
    from worker.engine.backends.openvino_backend import OpenVinoBackend  # noqa: PLC0415

    return OpenVinoBackend(file, device, "fp32")


def _files(form: str, file: Path) -> list[Path]:
    return [file] if form == "onnx" else [file.with_suffix(".bin"), file]
