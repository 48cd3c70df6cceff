from __future__ import annotations

import pytest
import torch

from shared.errors import ModelUnavailable
from tests.worker.engine.backends.conftest import CPU
from worker.engine.backends.artifact_cache import Shelf
from worker.engine.backends.export import export
from worker.engine.backends.measured_times import OWN_NAME, Figure, machine_name, write_figures
from worker.engine.backends.selection import load_backend, plan
from worker.engine.backends.self_check import make_proof


def measured(shelf: Shelf, **ms_per_face: float) -> None:
    """Write figures of this machine for these backends, in float32."""
    machine = machine_name(CPU)
    figures = [
        Figure("cpu", machine, 32, "fp32", name, batch=index + 2, ms_per_face=ms)
        for index, (name, ms) in enumerate(ms_per_face.items())
    ]
    write_figures(shelf.folder / OWN_NAME, figures)


def load(shelf: Shelf, backend: str = "auto", **options: object) -> tuple[str, str, int | None]:
    options.setdefault("precision", "fp32")
    found, batch = load_backend(shelf, CPU, backend=backend, **options)  # type: ignore[arg-type]
    return found.name, found.precision, batch


@pytest.mark.parametrize("name", ["torch", "onnxruntime", "openvino"])
def test_a_backend_is_what_was_asked_for(full_shelf: Shelf, name: str) -> None:
    assert load(full_shelf, name)[:2] == (name, "fp32")


@pytest.mark.parametrize("fastest", ["torch", "onnxruntime", "openvino"])
def test_auto_is_the_fastest_measured_with_its_batch(full_shelf: Shelf, fastest: str) -> None:
    times = {"torch": 3.0, "onnxruntime": 2.0, "openvino": 2.5} | {fastest: 1.0}
    measured(full_shelf, **times)
    assert load(full_shelf) == (fastest, "fp32", list(times).index(fastest) + 2)


def test_where_nothing_was_measured_auto_is_torch() -> None:
    assert plan("auto", "fp32", torch.device("mps"), []) == [("torch", "fp32")]


def test_a_precision_that_a_backend_lacks_becomes_float32_only_when_none_was_asked_for(
    full_shelf: Shelf,
) -> None:
    assert load(full_shelf, "onnxruntime", precision="auto")[1] == "fp32"
    with pytest.raises(ModelUnavailable, match="onnxruntime on cpu computes in fp32, not bf16"):
        load(full_shelf, "onnxruntime", precision="bf16")


@pytest.mark.parametrize(
    ("name", "says"),
    [("no-such", "known are torch, onnxruntime"), ("tensorrt", "not installed: pip install")],
)
def test_a_backend_that_is_not_here_is_refused_with_the_cure(
    full_shelf: Shelf, name: str, says: str
) -> None:
    with pytest.raises(ModelUnavailable, match=says):
        load(full_shelf, name, allow_fallback=True)


def spoil_weights(shelf: Shelf) -> None:
    """Put an export of other weights where the OpenVINO one was."""
    other = Shelf(shelf.folder, shelf.weights, shelf.sha256).generator
    other.final_linear[0].bias.data += 0.1
    export(other, make_proof(other), "openvino", shelf.export("openvino"))


def test_a_backend_out_of_tolerance_is_refused_with_the_figures(full_shelf: Shelf) -> None:
    spoil_weights(full_shelf)
    with pytest.raises(
        ModelUnavailable, match=r"openvino in fp32 fails its self-check: error \S+,"
    ):
        load(full_shelf, "openvino")


def test_the_next_backend_is_tried_only_if_that_is_allowed(full_shelf: Shelf) -> None:
    measured(full_shelf, openvino=1.0, onnxruntime=2.0, torch=3.0)
    spoil_weights(full_shelf)
    with pytest.raises(ModelUnavailable, match="self-check"):
        load(full_shelf)
    assert load(full_shelf, allow_fallback=True)[0] == "onnxruntime"


def test_when_none_will_do_every_reason_is_told(full_shelf: Shelf) -> None:
    measured(full_shelf, openvino=1.0, onnxruntime=2.0, torch=3.0)
    spoil_weights(full_shelf)
    full_shelf.export("onnx").write_bytes(b"not a graph")
    full_shelf.generator.final_linear[0].bias.data.fill_(float("nan"))
    with pytest.raises(ModelUnavailable) as refused:
        load(full_shelf, allow_fallback=True)
    for reason in ("openvino in fp32 fails", "onnxruntime cannot load", "torch in fp32 fails"):
        assert reason in refused.value.detail
