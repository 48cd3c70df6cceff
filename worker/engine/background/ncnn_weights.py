"""Reads the weights of an RRDBNet from Real-ESRGAN's ncnn model (a ``.param`` and a ``.bin`` file).

ncnn's wiki describes the format ("param and model file structure"). The text lists the layers. The
binary has, for each convolution in order, a flag for the type of its weights, the weights (16-bit
ones padded to a multiple of 4 bytes), and the biases as float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.errors import WeightsInvalid
from worker.engine.background.rrdbnet import RRDBConfig, RRDBNet

_MAGIC = "7767517"
_FLOAT16, _FLOAT32 = 0x01306B47, 0
_BLOCK_CONVOLUTIONS = 15
_OTHER_CONVOLUTIONS = 6  # first, body, two that enlarge, two that end
#: The other layers that the text may contain; they have no weights.
_WEIGHTLESS = frozenset({"Input", "Split", "Concat", "Eltwise", "BinaryOp", "Interp"})


@dataclass(frozen=True, slots=True)
class _Convolution:
    name: str
    outputs: int
    weights: int


def read_ncnn(binary: Path) -> dict[str, Tensor]:
    """Return the state dict of the RRDBNet in ``binary`` and the ``.param`` file beside it.

    Raises WeightsInvalid, which names the file and the layer, if a file is damaged or contains
    another network.
    """
    text = binary.with_suffix(".param")
    try:
        layers = list(_convolutions(text))
        data = binary.read_bytes()
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsInvalid(f"{text} or {binary.name} cannot be read: {error}") from None
    config = _config(layers, text)
    with torch.device("meta"):
        network = RRDBNet(config)
    reader, state = _Reader(data, binary), dict[str, Tensor]()
    for layer, (name, conv) in zip(layers, network.convolutions(), strict=True):
        if (layer.outputs, layer.weights) != (conv.out_channels, conv.weight.numel()):
            raise WeightsInvalid(f"{text}: layer {layer.name} has not the shape of {name}")
        weight = reader.weights(layer)
        state[f"{name}.weight"] = torch.from_numpy(weight).reshape(conv.weight.shape)
        state[f"{name}.bias"] = torch.from_numpy(reader.floats(layer.outputs, layer.name))
    reader.require_end()
    return state


def _convolutions(text: Path) -> Iterator[_Convolution]:
    lines = text.read_text(encoding="ascii").splitlines()
    if not lines or lines[0].strip() != _MAGIC:
        raise WeightsInvalid(f"{text} does not begin like an ncnn model")
    for line in lines[2:]:
        kind, name, *rest = line.split() or ("", "")
        if kind == "Convolution":
            yield _convolution(name, rest, text)
        elif kind not in _WEIGHTLESS:
            raise WeightsInvalid(f"{text}: an RRDBNet has no layer {name} of type {kind}")


def _convolution(name: str, rest: list[str], text: Path) -> _Convolution:
    """Read ``inputs outputs names… 0=channels 1=side 4=padding 5=has-bias 6=weights …``."""
    values = dict(part.split("=", 1) for part in rest if "=" in part)
    if (values.get("1"), values.get("4"), values.get("5")) != ("3", "1", "1"):
        raise WeightsInvalid(f"{text}: layer {name} is not 3x3 with padding 1 and a bias")
    try:
        return _Convolution(name, int(values["0"]), int(values["6"]))
    except (KeyError, ValueError):
        raise WeightsInvalid(f"{text}: layer {name} names no sizes") from None


def _config(layers: list[_Convolution], text: Path) -> RRDBConfig:
    blocks, rest = divmod(len(layers) - _OTHER_CONVOLUTIONS, _BLOCK_CONVOLUTIONS)
    if blocks < 1 or rest:
        raise WeightsInvalid(f"{text}: {len(layers)} convolutions do not make an RRDBNet")
    return RRDBConfig(layers[0].outputs, layers[1].outputs, blocks)


class _Reader:
    """Reads the binary from its start to its end."""

    def __init__(self, data: bytes, path: Path) -> None:
        self._data, self._path, self._at = data, path, 0

    def weights(self, layer: _Convolution) -> NDArray[np.float32]:
        flag = int.from_bytes(self._take(4, layer.name), "little")
        if flag == _FLOAT32:
            return self.floats(layer.weights, layer.name)
        if flag != _FLOAT16:
            raise WeightsInvalid(
                f"{self._path}: the weights of {layer.name} are of a type that is not read "
                f"(0x{flag:08x}); 16-bit and 32-bit floats are"
            )
        halves = self._take((2 * layer.weights + 3) // 4 * 4, layer.name)
        return np.frombuffer(halves, "<f2", layer.weights).astype(np.float32)

    def floats(self, count: int, layer: str) -> NDArray[np.float32]:
        return np.frombuffer(self._take(4 * count, layer), "<f4").astype(np.float32)

    def require_end(self) -> None:
        left = len(self._data) - self._at
        if left:
            raise WeightsInvalid(f"{self._path} has {left} bytes more than its layers need")

    def _take(self, count: int, layer: str) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) < count:
            raise WeightsInvalid(f"{self._path} ends in the middle of {layer}")
        self._at += count
        return taken
