"""Small ONNX restorers as others export them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIDE = 32
#: What the network does to red, green and blue, in its own range.
GAINS = np.array([0.9, 0.7, 0.5], np.float32)


def save_onnx(
    path: Path,
    *,
    batch: int | str = 1,
    side: int | str = SIDE,
    channels_last: bool = False,
    bgr: bool = False,
    kind: int = TensorProto.FLOAT,
    gain: float = 1.0,
    fixed_inside: bool = False,
    change: Callable[[onnx.ModelProto], None] = lambda _model: None,
) -> Path:
    """A graph that multiplies each colour by its gain, and ``change`` of it."""
    shape: list[Any] = [batch, side, side, 3] if channels_last else [batch, 3, side, side]
    gains = (GAINS[::-1] if bgr else GAINS) * np.float32(gain)
    stored = helper.tensor_dtype_to_np_dtype(kind)
    weights = gains.reshape((1, 1, 1, 3) if channels_last else (1, 3, 1, 1)).astype(stored)
    nodes = [helper.make_node("Mul", ["face", "gains"], ["out"])]
    constants = [numpy_helper.from_array(weights, "gains")]
    if fixed_inside:
        constants.append(numpy_helper.from_array(np.array([1, 3, SIDE, SIDE]), "shape"))
        nodes.insert(0, helper.make_node("Reshape", ["face", "shape"], ["one"]))
        nodes[1].input[0] = "one"
    graph = helper.make_graph(
        nodes,
        "restorer",
        [helper.make_tensor_value_info("face", kind, shape)],
        [helper.make_tensor_value_info("out", kind, shape)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def expected(crop: NDArray[np.uint8], value_range: str) -> NDArray[np.uint8]:
    """The crop as the graph of `save_onnx` changes it, in pixels."""
    pixels = crop.astype(np.float32)
    changed = (pixels - 127.5) * GAINS + 127.5 if value_range == "-1..1" else pixels * GAINS
    rounded: NDArray[np.uint8] = changed.round().astype(np.uint8)
    return rounded
