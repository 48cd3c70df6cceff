"""An exported graph with one input of any size, in float32 on the CPU: what runs the detector."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import ModelUnavailable
from worker.engine.backends.no_telemetry import disable_telemetry
from worker.engine.devices import cpu_threads

#: Runs the graph: its input to its outputs, in their order.
Graph = Callable[[NDArray[Any]], tuple[NDArray[np.float32], ...]]
#: The backends that run such a graph on the CPU.
GRAPH_BACKENDS = ("onnxruntime", "openvino")


def load_graph(backend: str, file: Path) -> Graph:
    """Load an ONNX graph. It has no locks: only one thread may use it at a time.

    Raises ModelUnavailable.
    """
    try:
        return graph_of(backend, file.read_bytes())
    except (ModelUnavailable, OSError) as error:
        raise ModelUnavailable(f"{file}: {error!s:.300}") from error


def graph_of(backend: str, graph: bytes) -> Graph:
    """Load the bytes of an ONNX graph; see `load_graph`."""
    disable_telemetry()
    try:
        return _in_openvino(graph) if backend == "openvino" else _in_onnxruntime(graph)
    except Exception as error:  # the libraries' own errors share no other base
        raise ModelUnavailable(f"{backend} cannot load the graph: {error!s:.300}") from error


def _in_openvino(graph: bytes) -> Graph:
    from worker.engine.backends.openvino_backend import core  # noqa: PLC0415 - optional

    config = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": cpu_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = core().compile_model(core().read_model(graph), "CPU", config)
    request = compiled.create_infer_request()

    def run(image: NDArray[Any]) -> tuple[NDArray[np.float32], ...]:
        answer = request.infer([image], share_inputs=True)
        # The next output overwrites these buffers.
        return tuple(np.array(answer[port], np.float32) for port in range(len(compiled.outputs)))

    return run


def _in_onnxruntime(graph: bytes) -> Graph:
    import onnxruntime  # noqa: PLC0415 - optional

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cpu_threads()
    options.log_severity_level = 3  # errors; they are raised anyway
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    (given,) = (each.name for each in session.get_inputs())

    def run(image: NDArray[Any]) -> tuple[NDArray[np.float32], ...]:
        return tuple(session.run(None, {given: image}))

    return run
