"""What is made once of a file of weights and kept: its exports, and the proof for self-checks."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import weakref
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from worker.engine.backends.self_check import Proof, load_proof, make_proof
from worker.weights.files import load_state, of_file

if TYPE_CHECKING:
    from worker.engine.gpen.networks import Generator

_log = logging.getLogger(__name__)
#: Raise when the same weights give another graph or another proof: what is kept is made anew.
VERSION = 2
SUFFIXES = {"onnx": ".onnx", "openvino": ".xml"}


class Shelf:
    """Files named by the hash of the weights they were made of; several processes may share one."""

    def __init__(self, folder: Path, weights: Path, sha256: str) -> None:
        self._folder, self.weights, self.sha256 = folder, weights, sha256
        self._name = f"{sha256[:16]}-v{VERSION}"

    @cached_property
    def folder(self) -> Path:
        """Where files are kept; where nothing can be written, a folder that goes with the shelf."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if os.access(self._folder, os.W_OK):
                return self._folder
        except OSError:
            pass
        _log.warning("%s cannot be written to: exports are made anew each time", self._folder)
        passing = tempfile.mkdtemp(prefix="facemend-")
        weakref.finalize(self, shutil.rmtree, passing, ignore_errors=True)
        return Path(passing)

    @cached_property
    def generator(self) -> Generator:
        """The weights in torch, on the CPU: needed by the torch backend, and to make the rest."""
        from worker.engine.gpen.networks import load_generator  # noqa: PLC0415 - not needed for what is kept

        with of_file(self.weights):
            return load_generator(load_state(self.weights)).eval().requires_grad_(False)

    @cached_property
    def proof(self) -> Proof:
        """Read, or made and kept."""
        file = self.folder / f"{self._name}-proof.npz"
        kept = load_proof(file)
        if kept is None:
            kept = make_proof(self.generator)
            part = file.with_name(f".{os.getpid()}-{file.name}")
            kept.save(part)
            part.replace(file)
        return kept

    def export(self, form: str) -> Path:
        """The weights as a graph in this form, one of `SUFFIXES`: kept, or made, checked and kept.

        Raises ModelUnavailable when it cannot be made or does not answer as torch does.
        """
        file = self.folder / f"{self._name}{SUFFIXES[form]}"
        if not file.is_file():
            from worker.engine.backends.export import export  # noqa: PLC0415 - needs onnx

            _log.info("exporting %s to %s: once for these weights", self.weights.name, file)
            error = export(self.generator, self.proof, form, file)
            _log.info("exported: error %.2g against torch", error)
        return file
