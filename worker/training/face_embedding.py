"""dlib's face network in torch, so that a loss can pass gradients through it.

The file is dlib's own (the serialization of a network type of dlib): it is scanned for the
tensors, which stand in the order of the layers, and each affine layer is folded into the
convolution before it. Equal to dlib's own answer to 1e-5; a test compares them.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from shared.errors import WeightsInvalid
from worker.engine.faces.identity import CHIP_POINTS, CHIP_SIDE_PX, network_path
from worker.imaging.geometry import similarity, template_points

_VERSION = b"\x01\x02"  # one byte long: 2, the version of dlib's tensors
_SMALLEST, _LARGEST = 64, 600_000
_MEAN_RGB = (122.782, 117.001, 104.298)
_WIDTHS = (32, 32, 32, 64, 64, 64, 64, 128, 128, 128, 256, 256, 256, 256)
_HALVING = frozenset({3, 7, 10, 13})


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside the identity; dlib fills the smaller one up with zeros."""

    def __init__(self, inputs: int, outputs: int, *, halve: bool) -> None:
        super().__init__()
        self.halve = halve
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 2 if halve else 1, 0 if halve else 1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(functional.relu(self.conv1(x)))
        if self.halve:
            x = functional.avg_pool2d(x, 2)
        shape = [max(pair) for pair in zip(x.shape[1:], y.shape[1:], strict=True)]
        return functional.relu(_filled(x, shape) + _filled(y, shape))


class FaceEmbedding(nn.Module):
    """128 numbers for an aligned face (N, 3, S, S) in [-1, 1], of the FFHQ template."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, _WIDTHS[0], 7, 2)
        inputs = (_WIDTHS[0], *_WIDTHS)
        self.blocks = nn.ModuleList(
            ResidualBlock(inputs[i], width, halve=i in _HALVING) for i, width in enumerate(_WIDTHS)
        )
        self.last = nn.Linear(_WIDTHS[-1], 128, bias=False)
        self.register_buffer("mean", torch.tensor(_MEAN_RGB)[:, None, None], persistent=False)

    mean: Tensor

    def forward(self, faces: Tensor) -> Tensor:
        """Return (N, 128); a distance of 0.6 tells persons apart."""
        return self.embed(_chips(faces.float()))

    def embed(self, chips: Tensor) -> Tensor:
        """The same for dlib's own crops: (N, 3, 150, 150), RGB 0…255."""
        x = functional.relu(self.first((chips - self.mean) / 256.0))
        x = functional.max_pool2d(x, 3, 2)
        for block in self.blocks:
            x = block(x)
        return self.last(x.mean((2, 3)))  # type: ignore[no-any-return]

    def convolutions(self) -> Iterator[nn.Conv2d]:
        """In the order of the file."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                yield module


def load_face_embedding(path: Path | None = None) -> FaceEmbedding:
    """Return the network with dlib's weights, frozen.

    Raises OptionUnavailable if the package that holds the file is not installed, and WeightsInvalid
    for a file of another network.
    """
    path = path or network_path()
    tensors = list(_tensors(path))
    network = FaceEmbedding()
    convolutions = list(network.convolutions())
    expected = [size for conv in convolutions for size in _sizes(conv)]
    expected.append(network.last.weight.numel())
    if [len(each) for each in tensors] != expected:
        raise WeightsInvalid(f"{path} does not hold dlib's face recognition network")
    with torch.no_grad():
        for number, conv in enumerate(convolutions):
            _fold(conv, tensors[2 * number], tensors[2 * number + 1])
        network.last.weight.copy_(tensors[-1].reshape(_WIDTHS[-1], 128).T)
    return network.eval().requires_grad_(False)


def _sizes(conv: nn.Conv2d) -> tuple[int, int]:
    """Numbers of the convolution with its bias, and of the affine layer after it."""
    return conv.weight.numel() + conv.out_channels, 2 * conv.out_channels


def _fold(conv: nn.Conv2d, weights: Tensor, affine: Tensor) -> None:
    width = conv.out_channels
    gain, shift = affine[:width], affine[width:]
    conv.weight.copy_(weights[:-width].reshape(conv.weight.shape) * gain[:, None, None, None])
    assert conv.bias is not None  # noqa: S101 - for the type checker
    conv.bias.copy_(weights[-width:] * gain + shift)


def _tensors(path: Path) -> Iterator[Tensor]:
    """Each tensor of the file, flat: version, four sizes, then float32 numbers."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            raise WeightsInvalid(f"{path} is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            place = data.find(_VERSION)
            while place >= 0:
                values, after = _tensor_at(data, place + len(_VERSION))
                if values is not None:
                    yield torch.from_numpy(values.copy())
                place = data.find(_VERSION, after)


def _tensor_at(data: mmap.mmap, place: int) -> tuple[NDArray[np.float32] | None, int]:
    """The tensor whose sizes begin at ``place``, or None, and where to look on."""
    sizes, start = [], place
    for _ in range(4):
        length = data[start] if start < len(data) else 0
        if not 1 <= length <= 3:  # an integer: how many bytes, then those, the lowest first
            return None, place
        sizes.append(int.from_bytes(data[start + 1 : start + 1 + length], "little"))
        start += 1 + length
    count = math.prod(sizes)
    if not _SMALLEST <= count <= _LARGEST or start + 4 * count > len(data):
        return None, place
    values = np.frombuffer(data[start : start + 4 * count], "<f4")
    if not np.isfinite(values).all() or np.abs(values).max() > 1e4:
        return None, place
    return values, start + 4 * count


def _chips(faces: Tensor) -> Tensor:
    """Cut dlib's crop out of aligned faces, differentiably."""
    side = faces.shape[-1]
    affine = similarity(template_points("ffhq", side), CHIP_POINTS)
    back = np.linalg.inv(np.vstack((affine, (0.0, 0.0, 1.0))))
    y, x = np.mgrid[:CHIP_SIDE_PX, :CHIP_SIDE_PX]
    places = back[:2] @ np.stack((x.ravel(), y.ravel(), np.ones(x.size)))
    grid = torch.from_numpy((2 * places.T + 1) / side - 1).float()
    grid = grid.reshape(1, CHIP_SIDE_PX, CHIP_SIDE_PX, 2).to(faces.device)
    cut = functional.grid_sample(
        faces, grid.expand(len(faces), -1, -1, -1), padding_mode="reflection", align_corners=False
    )
    return (cut + 1.0) * 127.5


def _filled(x: Tensor, shape: list[int]) -> Tensor:
    """Zeros after the last channel, row and column."""
    channels, height, width = shape
    return functional.pad(
        x, (0, width - x.shape[3], 0, height - x.shape[2], 0, channels - x.shape[1])
    )
