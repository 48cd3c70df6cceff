"""The generator as an ONNX graph, with every constant scale folded into the weights.

The graph is written node by node from the modules that torch runs. Nothing is traced, so the batch
size stays free. These are folded: the run-time scale of each layer, the sqrt(2) of each activation
(it is positive, so it can go inside), the scale of a modulated convolution (into its style), and
the sums of squared weights that demodulation needs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from worker.engine.backends.graph_inputs import INPUT, NOISE_SCALE, OUTPUT, TRUNCATION
from worker.engine.gpen.layers import (
    EqualLinear,
    Finish,
    ModulatedConv2d,
    StyledConv,
    ToRGB,
)
from worker.engine.gpen.networks import Generator

#: Inputs of the super-resolving form: Gaussian maps (1, C, r, r) for the levels above its input.
NOISE = "noise"

_ROOT2 = math.sqrt(2.0)
_OPSET, _IR_VERSION = 20, 10


def build_graph(generator: Generator) -> onnx.ModelProto:
    """Return the graph of a generator with its weights, in float32, for any batch size."""
    with torch.inference_mode():
        return _Graph(generator).model()


def graph_bytes(generator: Generator) -> bytes:
    """Return `build_graph` as the content of a file."""
    return bytes(build_graph(generator).SerializeToString())


class _Graph:
    """Builds the graph. Its methods accept and return names of values in the graph."""

    def __init__(self, generator: Generator) -> None:
        self._generator, self._config = generator, generator.config
        opset = [helper.make_opsetid("", _OPSET)]
        empty = helper.make_graph([], "GPEN", [_images(INPUT, self._config.in_size)], [])
        self._model = helper.make_model(empty, opset_imports=opset, ir_version=_IR_VERSION)
        # Filled in place: to put parts together at the end would need three times the memory.
        self._graph = self._model.graph
        self._epsilon = self._constant(torch.tensor([1e-8]))
        self._root2 = self._constant(torch.tensor([_ROOT2]))
        self._one = self._constant(torch.tensor([1.0]))
        self._noise_scale, self._truncation = map(self._control, (NOISE_SCALE, TRUNCATION))
        self._columns = self._constant(torch.tensor([1]))
        self._plane = self._constant(torch.tensor([2, 3]))

    def model(self) -> onnx.ModelProto:
        features, encoded = self._encoder()
        latent = self._truncated(self._mapping(encoded))
        maps = [each for each in features for _ in range(2)][1:]
        rgb = self._decoder(latent, maps + self._noise_maps())
        if self._generator.finish is not None:
            self._finish(rgb, self._generator.finish)
        self._graph.node[-1].output[0] = OUTPUT
        self._graph.output.append(_images(OUTPUT, self._config.size))
        return self._model

    def _encoder(self) -> tuple[list[str], str]:
        x = INPUT
        features: list[str] = []
        for level in range(self._generator.levels):
            block: Any = self._generator.get_submodule(f"ecd{level}")
            *blur, conv, act = block[0]
            if blur:
                x = self._blur(x, blur[0].kernel, conv.weight.shape[1], pad=2)
            bias = self._constant(act.bias * _ROOT2)
            x = self._conv(x, conv.weight * (conv.scale * _ROOT2), bias, stride=conv.stride)
            x = self._leaky(x)
            features.insert(0, x)
        last: Any = self._generator.final_linear
        return features, self._linear(self._op("Flatten", x), last[0])

    def _mapping(self, encoded: str) -> str:
        square = self._op("Mul", encoded, encoded)
        mean = self._op("ReduceMean", square, self._columns, keepdims=1)
        latent = self._op("Mul", encoded, self._inverse_root(mean))
        style: Any = self._generator.generator.style
        for layer in style[1:]:
            latent = self._linear(latent, layer)
        return latent

    def _truncated(self, latent: str) -> str:
        """Return the truncated latent; for truncation 1, exactly ``latent``."""
        rest = self._op("Sub", self._one, self._truncation)
        mean = self._op("Mul", self._constant(self._generator.mean_latent()), rest)
        return self._op("Add", self._op("Mul", latent, self._truncation), mean)

    def _decoder(self, latent: str, maps: list[str]) -> str:
        decoder: Any = self._generator.generator
        start = self._constant(decoder.input.input)
        x = self._styled(start, latent, maps[0], decoder.conv1)
        rgb = self._rgb(x, latent, decoder.to_rgb1, None)
        for level, to_rgb in enumerate(decoder.to_rgbs):
            for index in (2 * level, 2 * level + 1):
                x = self._styled(x, latent, maps[index + 1], decoder.convs[index])
            rgb = self._rgb(x, latent, to_rgb, rgb)
        return rgb

    def _finish(self, rgb: str, layer: Finish) -> None:
        wanted = self._mean_colour(INPUT, layer.margin(self._config.in_size))
        found = self._mean_colour(rgb, layer.margin(self._config.size))
        rgb = self._op("Add", rgb, self._op("Sub", wanted, found))
        light = self._conv(rgb, layer.lightness)
        reach = layer.taps.shape[-1] // 2
        pads = self._constant(torch.tensor([0, 0, reach, reach] * 2))
        blurred = self._op("Pad", light, pads, mode="reflect")
        for weight in (layer.taps, layer.taps.mT):
            blurred = self._conv(blurred, weight)
        detail = self._op("Sub", light, blurred)
        self._op("Add", rgb, self._op("Mul", detail, self._constant(layer.strength)))

    def _mean_colour(self, images: str, margin: int) -> str:
        corners = [self._constant(torch.tensor([each] * 2)) for each in (margin, -margin)]
        part = self._op("Slice", images, *corners, self._plane)
        return self._op("ReduceMean", part, self._plane, keepdims=1)

    def _noise_maps(self) -> list[str]:
        """Return the noise inputs of the levels above the encoder, repeated for the batch."""
        maps: list[str] = []
        resolution = self._config.in_size
        batch = self._op("Shape", INPUT, start=0, end=1)
        while (resolution := 2 * resolution) <= self._config.size:
            shape = [self._config.channels(resolution), resolution, resolution]
            tail = self._constant(torch.tensor(shape))
            for _ in range(2):
                name = self._input(f"{NOISE}{len(maps)}", [1, *shape])
                maps.append(self._op("Expand", name, self._op("Concat", batch, tail, axis=0)))
        return maps

    def _styled(self, x: str, latent: str, features: str, layer: StyledConv) -> str:
        out = self._modulated(x, latent, layer.conv)
        bias = (layer.activate.bias * _ROOT2).view(1, -1, 1, 1)
        middle = bias.shape[1] // 2
        out = self._op("Add", out, self._constant(bias[:, :middle]))
        weight = self._constant(layer.noise.weight * _ROOT2)
        extra = self._op("Mul", features, self._op("Mul", self._noise_scale, weight))
        extra = self._op("Add", extra, self._constant(bias[:, middle:]))
        return self._op("Concat", self._leaky(out), self._leaky(extra), axis=1)

    def _rgb(self, x: str, latent: str, layer: ToRGB, below: str | None) -> str:
        bias = self._constant(layer.bias)
        rgb = self._op("Add", self._modulated(x, latent, layer.conv), bias)
        if below is None:
            return rgb
        kernel = self._constant(layer.upsample.kernel.expand(3, 1, 4, 4))
        doubled = self._op(
            "ConvTranspose", below, kernel, group=3, strides=[2, 2], pads=[1, 1, 1, 1]
        )
        return self._op("Add", rgb, doubled)

    def _modulated(self, x: str, latent: str, layer: ModulatedConv2d) -> str:
        """Return the output; times sqrt(2) if it is demodulated, because an activation follows."""
        style = self._linear(latent, layer.modulation, gain=layer.scale)
        x = self._op("Mul", x, self._op("Unsqueeze", style, self._plane))
        weight: Tensor = layer.weight[0]
        if layer.up:
            turned = self._constant(weight.transpose(0, 1))
            x = self._op("ConvTranspose", x, turned, strides=[2, 2])
            x = self._blur(x, layer.blur.kernel, len(weight), pad=1)
        else:
            x = self._conv(x, weight, pad=layer.padding)
        if not layer.demodulate:
            return x
        energies = self._constant(weight.square().sum((2, 3)))
        energy = self._op("Gemm", self._op("Mul", style, style), energies, transB=1)
        factor = self._op("Mul", self._inverse_root(energy), self._root2)
        return self._op("Mul", x, self._op("Unsqueeze", factor, self._plane))

    def _linear(self, x: str, layer: EqualLinear, gain: float = 1.0) -> str:
        gain *= _ROOT2 if layer.act else 1.0
        weight = self._constant(layer.weight * (layer.scale * gain))
        bias = self._constant(layer.bias * (layer.lr_mul * gain))
        out = self._op("Gemm", x, weight, bias, transB=1)
        return self._leaky(out) if layer.act else out

    def _conv(self, x: str, weight: Tensor, *bias: str, stride: int = 1, pad: int = 0) -> str:
        weights = self._constant(weight)
        return self._op("Conv", x, weights, *bias, strides=[stride] * 2, pads=[pad] * 4)

    def _blur(self, x: str, kernel: Tensor, channels: int, pad: int) -> str:
        weight = self._constant(kernel.expand(channels, 1, 4, 4))
        return self._op("Conv", x, weight, group=channels, pads=[pad] * 4)

    def _leaky(self, x: str) -> str:
        return self._op("LeakyRelu", x, alpha=0.2)

    def _inverse_root(self, x: str) -> str:
        return self._op("Reciprocal", self._op("Sqrt", self._op("Add", x, self._epsilon)))

    def _input(self, name: str, shape: list[int]) -> str:
        self._graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def _control(self, name: str) -> str:
        """Return an optional input whose default is 1."""
        self._graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float32), name))
        return self._input(name, [1])

    def _op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind.lower()}{len(self._graph.node)}"
        self._graph.node.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def _constant(self, tensor: Tensor) -> str:
        name = f"weight{len(self._graph.initializer)}"
        array = tensor.detach().cpu().contiguous().numpy()
        self._graph.initializer.append(numpy_helper.from_array(array, name))
        return name


def _images(name: str, size_px: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, size_px, size_px])
