"""The artifacts of an ONNX restorer of others: its graph in our form, and its self-check."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from shared.digest import digest
from shared.errors import ModelUnavailable, WeightsInvalid
from worker.engine.backends.artifact_cache import ArtifactCache
from worker.engine.backends.backend import Images, crops_to_images
from worker.engine.backends.backend_selection import is_installed
from worker.engine.backends.graph import GRAPH_BACKENDS, graph_of
from worker.engine.backends.self_check import SelfCheck, face_like, relative_error
from worker.engine.brought_models.outputs import require_picture
from worker.weights.model_entry import ModelEntry

if TYPE_CHECKING:
    from worker.engine.brought_models.onnx_model import OnnxModel

#: Largest relative error of two faces in one batch against each alone.
_BATCH_TOLERANCE = 1e-3


class OnnxArtifacts(ArtifactCache):
    """ONNX Runtime, OpenVINO and TensorRT run the graph; torch does not."""

    backends = ("onnxruntime", "openvino", "tensorrt")
    usual_precision = "fp32"

    def __init__(self, folder: Path, weights: Path, sha256: str, entry: ModelEntry) -> None:
        form = digest(f"{entry.value_range} {entry.channels} {entry.in_px} {entry.out_px}")
        super().__init__(folder, weights, sha256, form=form[:8])
        self._entry = entry

    @property
    def generator(self) -> NoReturn:
        """Raises ModelUnavailable: the file is a graph, not a network in torch."""
        raise ModelUnavailable(f"{self.weights} is an ONNX graph, which torch does not run")

    def graph(self) -> bytes:
        """Return the graph in our form; for any number of faces if it answers each as if alone.

        Raises WeightsInvalid, ModelUnavailable.
        """
        graph = self._in_our_form(any_batch=self._model.given.batch is None)
        if self._model.given.batch is None and not self._keeps_faces_apart(graph):
            return self._in_our_form(any_batch=False)
        return graph

    def make_self_check(self) -> SelfCheck:
        """Run the graph as it came, with our conversion of pixels around it.

        Raises WeightsInvalid if its output is no picture in the stated range.
        """
        from worker.engine.brought_models.onnx_model import SCALES  # noqa: PLC0415 - needs onnx

        crop = face_like(self._model.given.side or 0)
        scale, shift = SCALES[self._entry.value_range]
        given = self._turned(crops_to_images([crop]) * np.float32(scale) + np.float32(shift))
        if self._model.given.channels_last:
            given = given.transpose(0, 2, 3, 1)
        run = graph_of(_reference(), self.weights.read_bytes())
        try:
            found = run(np.ascontiguousarray(given, np.float32))[0]
        except Exception as error:  # noqa: BLE001 - the libraries' errors share no other base
            raise WeightsInvalid(f"{self.weights} cannot run: {error!s:.300}") from None
        if self._model.found.channels_last:
            found = found.transpose(0, 3, 1, 2)
        found = (self._turned(found) - np.float32(shift)) / np.float32(scale)
        require_picture(self.weights, found, self._entry)
        return SelfCheck(crop, np.ascontiguousarray(found))

    @cached_property
    def _model(self) -> OnnxModel:
        try:
            from worker.engine.brought_models.onnx_model import read_onnx  # noqa: PLC0415 - the same
        except ImportError:
            raise ModelUnavailable("onnx is not installed: pip install facemend[onnx]") from None
        return read_onnx(self.weights, self._entry.in_px or 0)

    def _in_our_form(self, *, any_batch: bool) -> bytes:
        from worker.engine.brought_models.onnx_model import in_our_form  # noqa: PLC0415 - the same

        entry = self._entry
        made = in_our_form(
            self._model, entry.value_range, entry.channels, entry.out_px or 0, any_batch=any_batch
        )
        return bytes(made.SerializeToString())

    def _keeps_faces_apart(self, graph: bytes) -> bool:
        run = graph_of(_reference(), graph)
        first = crops_to_images([self.self_check.crop])
        both = np.concatenate([first, first[:, :, ::-1]])
        try:
            found = run(both)[0]
            alone = np.concatenate([run(both[:1])[0], run(both[1:])[0]])
        except Exception:  # noqa: BLE001 - the graph says any batch, and then cannot run two
            return False
        return found.shape == alone.shape and relative_error(found, alone) <= _BATCH_TOLERANCE

    def _turned(self, images: Images) -> Images:
        return images[:, ::-1] if self._entry.channels == "bgr" else images


def _reference() -> str:
    """Return the runtime whose output the others must have. Raises ModelUnavailable."""
    for name in GRAPH_BACKENDS:
        if is_installed(name):
            return name
    raise ModelUnavailable(
        "an ONNX model needs ONNX Runtime or OpenVINO: pip install facemend[onnx] or "
        "facemend[openvino]"
    )
