"""Reads an ONNX restorer of others, checks its form, and gives it the form of our own exports.

Nothing in the file is run here, and no other file is opened for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from shared.errors import WeightsInvalid
from worker.engine.backends.graph_inputs import INPUT, OUTPUT
from worker.weights.model_entry import ValueRange

#: Scale and shift from [-1, 1] to each range.
SCALES: dict[ValueRange, tuple[float, float]] = {
    "-1..1": (1.0, 0.0),
    "0..1": (0.5, 0.5),
    "0..255": (127.5, 127.5),
}
_PREFIX = "given/"


@dataclass(frozen=True, slots=True)
class Picture:
    """The input or the output of a graph: its name, layout, side and batch.

    ``side`` and ``batch`` are None if the graph leaves them open.
    """

    name: str
    channels_last: bool
    side: int | None
    batch: int | None


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """A graph with one picture in, and at least one out; only the first is used."""

    proto: onnx.ModelProto
    given: Picture
    found: Picture


def read_onnx(path: Path, in_px: int) -> OnnxModel:
    """Read and check a graph whose input has the side ``in_px``.

    Raises WeightsInvalid if the file is no ONNX graph, needs other files or operators that are not
    of ONNX, or has other inputs or outputs than one picture of that side.
    """
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # noqa: BLE001 - protobuf's errors share no other base
        raise WeightsInvalid(f"{path} is not an ONNX graph: {error!s:.200}") from None
    if not proto.graph.node or not proto.opset_import:
        raise WeightsInvalid(f"{path} is not an ONNX graph: it has no operators")
    _require_whole(path, proto)
    stored = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in stored]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise WeightsInvalid(
            f"{path} has {len(inputs)} inputs ({names}); a restorer has one: the face"
        )
    if not proto.graph.output:
        raise WeightsInvalid(f"{path} has no output")
    given = _picture(path, "input", inputs[0])
    if given.side is None:
        raise WeightsInvalid(
            f"{path}: its input has no fixed size; export it with {in_px} x {in_px} px"
        )
    if given.side != in_px:
        raise WeightsInvalid(f"{path}: its input is {given.side} px wide, not {in_px} px")
    if given.batch not in {None, 1}:
        raise WeightsInvalid(
            f"{path}: its input is always a batch of {given.batch} faces; one face, or any number, "
            "is needed"
        )
    return OnnxModel(proto, given, _picture(path, "output", proto.graph.output[0]))


def in_our_form(
    model: OnnxModel, value_range: ValueRange, channels: str, out_px: int, *, any_batch: bool
) -> onnx.ModelProto:
    """Return the graph in the form of our exports: RGB in [-1, 1], float32, (batch, 3, S, S).

    Without ``any_batch`` it takes one face at a time.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    stored = {tensor.name for tensor in proto.graph.initializer}
    kept = [value for value in proto.graph.input if value.name not in stored]
    del proto.graph.input[:]
    proto.graph.input.extend(kept)
    del proto.graph.output[1:]
    proto = compose.add_prefix(proto, _PREFIX)
    graph, steps = proto.graph, _Steps()
    scale, shift = SCALES[value_range]
    value = steps.scaled(INPUT, scale, shift)
    value = steps.swapped(value) if channels == "bgr" else value
    value = steps.add("Transpose", value, perm=[0, 2, 3, 1]) if model.given.channels_last else value
    steps.nodes.append(helper.make_node("Identity", [value], [graph.input[0].name]))
    before = len(steps.nodes)
    value = graph.output[0].name
    value = steps.add("Transpose", value, perm=[0, 3, 1, 2]) if model.found.channels_last else value
    value = steps.swapped(value) if channels == "bgr" else value
    value = steps.scaled(value, 1 / scale, -shift / scale)
    steps.nodes.append(helper.make_node("Identity", [value], [OUTPUT]))
    nodes = [*steps.nodes[:before], *graph.node, *steps.nodes[before:]]
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(steps.constants)
    side, batch = model.given.side, "batch" if any_batch else 1
    graph.input.append(helper.make_tensor_value_info(INPUT, 1, [batch, 3, side, side]))
    graph.output.append(helper.make_tensor_value_info(OUTPUT, 1, [batch, 3, out_px, out_px]))
    return proto


class _Steps:
    """Collects the operators before and after a graph."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, value: str, *others: str, **attributes: Any) -> str:
        name = f"form/{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, [value, *others], [name], **attributes))
        return name

    def scaled(self, value: str, scale: float, shift: float) -> str:
        if (scale, shift) == (1.0, 0.0):
            return value
        larger = self.add("Mul", value, self._constant(np.float32(scale)))
        return self.add("Add", larger, self._constant(np.float32(shift)))

    def swapped(self, value: str) -> str:
        return self.add("Gather", value, self._constant(np.array([2, 1, 0], np.int64)), axis=1)

    def _constant(self, value: Any) -> str:
        name = f"form/constant-{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def _require_whole(path: Path, proto: onnx.ModelProto) -> None:
    """Raise WeightsInvalid if the graph needs other files, or operators that are not of ONNX."""
    own = {"", "ai.onnx"}
    foreign, outside = set[str](), set[str]()
    for graph in _graphs(proto.graph):
        foreign |= {f"{node.domain}.{node.op_type}" for node in graph.node} - {
            f"{node.domain}.{node.op_type}" for node in graph.node if node.domain in own
        }
        outside |= {
            tensor.name
            for tensor in _tensors(graph)
            if tensor.data_location == TensorProto.EXTERNAL
        }
    if foreign or proto.functions:
        names = ", ".join(sorted(foreign)[:5]) or "functions of its own"
        raise WeightsInvalid(f"{path} needs operators that are not of ONNX: {names}")
    if outside:
        raise WeightsInvalid(
            f"{path} keeps {len(outside)} tensors in other files; save it as one file, with all "
            "its data inside"
        )


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield the graph and all graphs inside its operators."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield from _graphs(inner)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)


def _picture(path: Path, which: str, value: onnx.ValueInfoProto) -> Picture:
    kind = value.type.tensor_type
    sizes = [each.dim_value if each.HasField("dim_value") else None for each in kind.shape.dim]
    if kind.elem_type != TensorProto.FLOAT or len(sizes) != 4:
        raise WeightsInvalid(
            f"{path}: its {which} {value.name} is no picture of float32 in the shape "
            "(batch, 3, side, side) or (batch, side, side, 3)"
        )
    batch, *rest = (size or None for size in sizes)
    channels_last = rest[0] != 3 and rest[2] == 3
    sides = rest[:2] if channels_last else rest[1:]
    if not channels_last and rest[0] not in {3, None if which == "output" else 3}:
        raise WeightsInvalid(f"{path}: its {which} {value.name} has {rest[0]} channels, not 3")
    if sides[0] != sides[1]:
        raise WeightsInvalid(f"{path}: its {which} is not square: {sides[0]} x {sides[1]} px")
    return Picture(value.name, channels_last, sides[0], batch)
