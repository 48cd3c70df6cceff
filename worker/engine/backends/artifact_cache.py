"""The artifact cache: exported graphs and self-checks, made once for each file of weights."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from shared.atomic_file import replaced_atomically
from shared.errors import WeightsInvalid
from worker.engine.backends.self_check import SelfCheck, load_self_check, make_self_check
from worker.weights.safe_loading import errors_name_file, load_state
from worker.weights.verification import file_sha256

if TYPE_CHECKING:
    from worker.engine.gpen.networks import Generator

_log = logging.getLogger(__name__)
#: Raise this when the same weights give another graph or another self-check: both are made again.
VERSION = 3
SUFFIXES = {"onnx": ".onnx", "openvino": ".xml"}


class ArtifactCache:
    """The artifacts of one file of weights; several processes may share the folder.

    The name of each file starts with the hash of the weights. ``form`` is added to it if the same
    file can be read in several ways.
    """

    #: The backends that can run these weights; without measured times the first one does.
    backends: tuple[str, ...] = ("torch", "onnxruntime", "openvino", "tensorrt")
    #: What precision ``auto`` means for them.
    usual_precision = "auto"

    def __init__(self, folder: Path, weights: Path, sha256: str, form: str = "") -> None:
        self._folder, self.weights, self.sha256 = folder, weights, sha256
        self._name = f"{sha256[:16]}{form and f'-{form}'}-v{VERSION}"

    @cached_property
    def folder(self) -> Path:
        """The folder of the files; if it is not writable, a temporary one for this object."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if os.access(self._folder, os.W_OK):
                return self._folder
        except OSError:
            pass
        _log.warning("%s is not writable: exports are made anew each time", self._folder)
        temporary = tempfile.mkdtemp(prefix="facemend-")
        weakref.finalize(self, shutil.rmtree, temporary, ignore_errors=True)
        return Path(temporary)

    @cached_property
    def generator(self) -> Generator:
        """The generator in torch on the CPU: the torch backend and the other artifacts need it."""
        from worker.engine.gpen.networks import load_generator  # noqa: PLC0415 - needs torch

        with errors_name_file(self.weights):
            return load_generator(load_state(self.weights)).eval().requires_grad_(False)

    @cached_property
    def self_check(self) -> SelfCheck:
        """The saved self-check, or a new one that is then saved.

        All that is loaded or exported later is compared with it, so it must not be that of another
        file: raises WeightsInvalid if the weights were replaced since they got their hash.
        """
        file = self.folder / f"{self._name}-proof.npz"
        saved = load_self_check(file)
        if saved is None:
            saved = self.make_self_check()
            if file_sha256(self.weights) != self.sha256:
                raise WeightsInvalid(f"{self.weights} was replaced while it was loaded")
            with replaced_atomically(file) as unfinished:
                saved.save(unfinished)
        return saved

    def make_self_check(self) -> SelfCheck:
        """Return a new self-check."""
        return make_self_check(self.generator)

    def graph(self) -> bytes:
        """Return the network as an ONNX graph. Raises ImportError without the package onnx."""
        from worker.engine.backends.onnx_graph import graph_bytes  # noqa: PLC0415 - needs onnx

        return graph_bytes(self.generator)

    def made(self, suffix: str, make: Callable[[Path], None]) -> Path:
        """Return the file with this suffix; ``make`` writes it if it is not there yet."""
        file = self.folder / f"{self._name}{suffix}"
        if not file.is_file():
            _log.info("exporting %s to %s: once for these weights", self.weights.name, file)
            with replaced_atomically(file) as unfinished:
                make(unfinished)
        return file

    def export(self, form: str) -> Path:
        """Return the graph in this form, a key of `SUFFIXES`; export it if it is not there yet.

        Raises ModelUnavailable if the export fails or its output differs from that of torch.
        """
        file = self.folder / f"{self._name}{SUFFIXES[form]}"
        if not file.is_file():
            from worker.engine.backends.export import export  # noqa: PLC0415 - needs onnx

            _log.info("exporting %s to %s: once for these weights", self.weights.name, file)
            error = export(self.graph, self.self_check, form, file)
            _log.info("exported: relative error %.2g against torch", error)
        return file
