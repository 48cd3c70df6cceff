from __future__ import annotations

from functools import partial

import pytest
import torch

from shared.errors import ModelUnavailable
from tests.worker.engine.backends.conftest import CPU
from worker.engine.backends.artifact_cache import ArtifactCache
from worker.engine.backends.backend_selection import load_backend, plan
from worker.engine.backends.export import export
from worker.engine.backends.measured_times import (
    OWN_NAME,
    MeasuredTime,
    machine_name,
    write_measured_times,
)
from worker.engine.backends.onnx_graph import graph_bytes
from worker.engine.backends.self_check import make_self_check


def measured(artifacts: ArtifactCache, **ms_per_face: float) -> None:
    """Write measured times of this machine for these backends, in float32."""
    machine = machine_name(CPU)
    times = [
        MeasuredTime("cpu", machine, 32, "fp32", name, batch=index + 2, ms_per_face=ms)
        for index, (name, ms) in enumerate(ms_per_face.items())
    ]
    write_measured_times(artifacts.folder / OWN_NAME, times)


def load(
    artifacts: ArtifactCache, backend: str = "auto", **options: object
) -> tuple[str, str, int | None]:
    options.setdefault("precision", "fp32")
    found, batch = load_backend(artifacts, CPU, backend=backend, **options)  # type: ignore[arg-type]
    return found.name, found.precision, batch


@pytest.mark.parametrize("name", ["torch", "onnxruntime", "openvino"])
def test_the_requested_backend_is_used(exported_artifacts: ArtifactCache, name: str) -> None:
    assert load(exported_artifacts, name)[:2] == (name, "fp32")


@pytest.mark.parametrize("fastest", ["torch", "onnxruntime", "openvino"])
def test_auto_is_the_fastest_measured_backend_with_its_batch_size(
    exported_artifacts: ArtifactCache, fastest: str
) -> None:
    times = {"torch": 3.0, "onnxruntime": 2.0, "openvino": 2.5} | {fastest: 1.0}
    measured(exported_artifacts, **times)
    assert load(exported_artifacts) == (fastest, "fp32", list(times).index(fastest) + 2)


def test_without_measured_times_auto_is_torch() -> None:
    assert plan("auto", "fp32", torch.device("mps"), []) == [("torch", "fp32")]


def test_a_missing_precision_becomes_float32_only_if_none_was_requested(
    exported_artifacts: ArtifactCache,
) -> None:
    assert load(exported_artifacts, "onnxruntime", precision="auto")[1] == "fp32"
    with pytest.raises(ModelUnavailable, match="onnxruntime on cpu computes in fp32, not bf16"):
        load(exported_artifacts, "onnxruntime", precision="bf16")


@pytest.mark.parametrize(
    ("name", "says"),
    [("no-such", "known are torch, onnxruntime"), ("tensorrt", "not installed: pip install")],
)
def test_a_missing_backend_is_refused_with_the_command_to_install_it(
    exported_artifacts: ArtifactCache, name: str, says: str
) -> None:
    with pytest.raises(ModelUnavailable, match=says):
        load(exported_artifacts, name, allow_fallback=True)


def spoil_weights(artifacts: ArtifactCache) -> None:
    """Replace the OpenVINO export by one of other weights."""
    other = ArtifactCache(artifacts.folder, artifacts.weights, artifacts.sha256).generator
    other.final_linear[0].bias.data += 0.1
    export(
        partial(graph_bytes, other),
        make_self_check(other),
        "openvino",
        artifacts.export("openvino"),
    )


def test_a_backend_out_of_tolerance_is_refused_with_its_error_and_the_limit(
    exported_artifacts: ArtifactCache,
) -> None:
    spoil_weights(exported_artifacts)
    with pytest.raises(
        ModelUnavailable, match=r"openvino in fp32 fails its self-check: error \S+,"
    ):
        load(exported_artifacts, "openvino")


def test_the_next_backend_is_tried_only_if_that_is_allowed(
    exported_artifacts: ArtifactCache,
) -> None:
    measured(exported_artifacts, openvino=1.0, onnxruntime=2.0, torch=3.0)
    spoil_weights(exported_artifacts)
    with pytest.raises(ModelUnavailable, match="self-check"):
        load(exported_artifacts)
    assert load(exported_artifacts, allow_fallback=True)[0] == "onnxruntime"


def test_if_no_backend_can_be_used_the_error_has_every_reason(
    exported_artifacts: ArtifactCache,
) -> None:
    measured(exported_artifacts, openvino=1.0, onnxruntime=2.0, torch=3.0)
    spoil_weights(exported_artifacts)
    exported_artifacts.export("onnx").write_bytes(b"not a graph")
    exported_artifacts.generator.final_linear[0].bias.data.fill_(float("nan"))
    with pytest.raises(ModelUnavailable) as refused:
        load(exported_artifacts, allow_fallback=True)
    for reason in ("openvino in fp32 fails", "onnxruntime cannot load", "torch in fp32 fails"):
        assert reason in refused.value.detail
