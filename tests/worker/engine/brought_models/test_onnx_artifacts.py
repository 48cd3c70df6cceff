"""ONNX restorers of others, served through ONNX Runtime and OpenVINO."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from shared.errors import ModelUnavailable, WeightsInvalid
from tests.worker.engine.onnx_models import SIDE, expected, save_onnx
from worker.engine.backends.backend import Backend
from worker.engine.backends.backend_selection import load_backend
from worker.engine.brought_models.onnx_artifacts import OnnxArtifacts
from worker.engine.devices import CPU
from worker.weights.model_entry import ModelEntry
from worker.weights.verification import file_sha256

CROPS = np.random.default_rng(3).integers(0, 256, (3, SIDE, SIDE, 3)).astype(np.uint8)
RUNTIMES = ("onnxruntime", "openvino")


def artifacts_of(path: Path, **stated: Any) -> OnnxArtifacts:
    about = {"in_px": SIDE, "out_px": SIDE, "template": "ffhq"} | stated
    entry = ModelEntry("other", path.name, "own", format="onnx", **about)
    return OnnxArtifacts(path.parent / "exported", path, file_sha256(path), entry)


def loaded(path: Path, runtime: str, **stated: Any) -> Backend:
    return load_backend(artifacts_of(path, **stated), CPU, backend=runtime)[0]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("value_range", ["-1..1", "0..1", "0..255"])
@pytest.mark.parametrize(
    "form",
    [{}, {"bgr": True}, {"channels_last": True}, {"channels_last": True, "bgr": True}],
    ids=["rgb", "bgr", "channels last", "bgr, channels last"],
)
def test_a_graph_is_served_in_the_form_that_it_has(
    tmp_path: Path, runtime: str, value_range: str, form: dict[str, Any]
) -> None:
    path = save_onnx(tmp_path / "other.onnx", **form)
    channels = "bgr" if form.get("bgr") else "rgb"
    backend = loaded(path, runtime, value_range=value_range, channels=channels)
    (found,) = backend.run(CROPS[:1])
    np.testing.assert_allclose(found, expected(CROPS[0], value_range), atol=1)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_graph_for_any_number_of_faces_restores_several_at_once(
    tmp_path: Path, runtime: str
) -> None:
    backend = loaded(save_onnx(tmp_path / "many.onnx", batch="batch"), runtime)
    assert backend.batches
    for found, crop in zip(backend.run(list(CROPS)), CROPS, strict=True):
        np.testing.assert_allclose(found, expected(crop, "-1..1"), atol=1)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    "form", [{"batch": 1}, {"batch": "batch", "fixed_inside": True}], ids=["stated", "inside"]
)
def test_a_graph_for_one_face_is_given_one_at_a_time_and_has_no_controls(
    tmp_path: Path, runtime: str, form: dict[str, Any]
) -> None:
    backend = loaded(save_onnx(tmp_path / "one.onnx", **form), runtime)
    assert not backend.batches
    assert not backend.has_controls
    assert not backend.uses_seed


def test_torch_is_refused_for_a_graph(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="torch does not run this model"):
        loaded(save_onnx(tmp_path / "other.onnx"), "torch")


def second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("weight", TensorProto.DOUBLE, [1]))


def other_domain(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def data_outside(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")


def unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Restore"


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"change": second_input}, r"2 inputs \(face, weight\)"),
        ({"change": other_domain}, "not of ONNX: com.example.Mul"),
        ({"change": data_outside}, "1 tensors in other files"),
        ({"side": "side"}, "no fixed size"),
        ({"side": 64}, "64 px wide, not 32 px"),
        ({"batch": 4}, "a batch of 4 faces"),
        ({"gain": 40.0}, "not the range -1..1"),
        ({"gain": 0.01}, "not the range -1..1"),
        ({"gain": float("nan")}, "not finite"),
        ({"kind": TensorProto.INT32}, "no picture of float32"),
        ({"kind": TensorProto.FLOAT16}, "no picture of float32"),
    ],
)
def test_a_graph_that_is_no_restorer_is_refused(
    tmp_path: Path, form: dict[str, Any], words: str
) -> None:
    path = save_onnx(tmp_path / "bad.onnx", **form)
    with pytest.raises(WeightsInvalid, match=words):
        artifacts_of(path).self_check  # noqa: B018


def test_a_range_that_was_stated_wrongly_is_refused(tmp_path: Path) -> None:
    def into_0_1(model: onnx.ModelProto) -> None:
        model.graph.node.append(helper.make_node("Sigmoid", ["out"], ["bright"]))
        model.graph.output[0].name = "bright"

    path = save_onnx(tmp_path / "bright.onnx", change=into_0_1)
    with pytest.raises(WeightsInvalid, match="State another one with --range"):
        artifacts_of(path).self_check  # noqa: B018


def test_an_operator_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    path = save_onnx(tmp_path / "unknown.onnx", change=unknown_operator)
    with pytest.raises(ModelUnavailable, match="Restore"):
        artifacts_of(path).self_check  # noqa: B018


@pytest.mark.parametrize("data", [b"", b"not a graph", b"\x08\x08" + bytes(50)])
def test_a_file_that_is_no_graph_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "none.onnx"
    path.write_bytes(data)
    with pytest.raises(WeightsInvalid, match="not an ONNX graph"):
        artifacts_of(path).self_check  # noqa: B018
