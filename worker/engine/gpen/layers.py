"""The layers of StyleGAN2 that GPEN is built of (Karras et al., arXiv 1912.04958).

They are fast on a CPU and on a GPU: a run-time scale is applied to the smallest tensor, and one
weight serves the whole batch. The layers keep no state between calls. Feature maps are
(N, C, H, W) in the type of the weights, or in half precision under `torch.autocast`; styles,
demodulation factors and RGB stay in float32.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional

_ROOT2 = math.sqrt(2.0)
# The Gaussian of the unsharp mask, in pixels, and how far it reaches.
_MASK_PX, _MASK_REACH_PX = 1.5, 5
_LIGHTNESS = 0.299, 0.587, 0.114  # of red, green and blue (ITU-R BT.601)


def _full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Suspend autocast if it is on. Otherwise an unneeded context would appear in exports."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def _activate(x: Tensor, bias: Tensor) -> Tensor:
    """Return leaky_relu(x + bias, 0.2) * sqrt(2). The factor is positive, so it can go inside."""
    bias = bias.to(x.dtype).view(1, -1, *([1] * (x.dim() - 2)))
    return functional.leaky_relu(torch.add(bias * _ROOT2, x, alpha=_ROOT2), 0.2, inplace=True)


class Blur(nn.Module):
    """FIR low-pass filter [1,3,3,1] on both axes, with zero padding; keeps each `down`-th pixel."""

    kernel: Tensor

    def __init__(self, pad: int, gain: float = 1.0, down: int = 1) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0], device="cpu")
        self.register_buffer("kernel", torch.outer(taps, taps) * (gain / 64.0))
        self.pad, self.down = pad, down

    def forward(self, x: Tensor) -> Tensor:
        weight = self.kernel.to(x.dtype).expand(x.shape[1], 1, 4, 4)
        return functional.conv2d(x, weight, stride=self.down, padding=self.pad, groups=x.shape[1])


class Upsample(nn.Module):
    """Doubles the size with the FIR kernel times 4: bilinear, with zeros beyond the border."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", Blur(pad=1, gain=4.0).kernel)

    def forward(self, x: Tensor) -> Tensor:
        doubled = functional.interpolate(
            functional.pad(x, (1, 1, 1, 1)), scale_factor=2, mode="bilinear"
        )
        return doubled[:, :, 2:-2, 2:-2]


class FusedLeakyReLU(nn.Module):
    """Adds a bias per channel, applies leaky ReLU (0.2) and multiplies by sqrt(2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return _activate(x, self.bias)


class EqualConv2d(nn.Module):
    """Convolution with unit-variance weights, scaled at run time by 1/sqrt(fan_in)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.scale = 1.0 / math.sqrt(inputs * kernel**2)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        weight: Tensor = self.weight
        if weight.numel() < x.numel():  # scale whichever is smaller
            weight = weight * self.scale
        else:
            x = x * self.scale
        return functional.conv2d(x, weight, stride=self.stride, padding=self.padding)


class EqualLinear(nn.Module):
    """Linear layer in float32 with run-time scale, `lr_mul` and optionally the fused leaky ReLU."""

    def __init__(
        self, inputs: int, outputs: int, *, bias: float = 0.0, lr_mul: float = 1.0, act: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr_mul)
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.scale, self.lr_mul, self.act = lr_mul / math.sqrt(inputs), lr_mul, act

    def forward(self, x: Tensor) -> Tensor:
        with _full_precision(x):
            out = functional.linear(x.float() * self.scale, self.weight.float())
            bias = self.bias.float() * self.lr_mul
            return _activate(out, bias) if self.act else out + bias


class PixelNorm(nn.Module):
    """Scales each vector to a mean square of 1 over its channels."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)


class ModulatedConv2d(nn.Module):
    """A convolution whose weights a style scales, with one shared weight for the batch.

    To scale the weights of an input channel is to scale the input, and to demodulate an output
    channel is to scale the output. The result is that of one weight per sample, but it can be
    batched and exported.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, style_dim: int, up: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, outputs, inputs, kernel, kernel))
        self.modulation = EqualLinear(style_dim, inputs, bias=1.0, act=False)
        self.scale = 1.0 / math.sqrt(inputs * kernel**2)
        self.padding, self.up, self.demodulate = kernel // 2, up, kernel > 1
        if up:
            self.blur = Blur(pad=1, gain=4.0)

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        """(N, in, r, r), (N, style_dim) -> (N, out, r or 2r, r or 2r)."""
        style: Tensor = self.modulation(latent) * self.scale
        weight = self.weight[0]
        x = x * style.to(x.dtype)[:, :, None, None]
        if self.up:
            grown = functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
            out: Tensor = self.blur(grown)
        else:
            out = functional.conv2d(x, weight, padding=self.padding)
        if not self.demodulate:
            return out
        with _full_precision(x):
            energy = functional.linear(style.square(), weight.float().square().sum((2, 3)))
            factor = torch.rsqrt(energy + 1e-8)
        return out * factor.to(out.dtype)[:, :, None, None]


class FeatureNoise(nn.Module):
    """The learned weight of the encoder's features, in the place of StyleGAN2's noise weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, concatenation with weighted features, fused leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, style_dim: int, up: bool) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(inputs, outputs, 3, style_dim, up)
        self.noise = FeatureNoise()
        self.activate = FusedLeakyReLU(2 * outputs)

    def forward(self, x: Tensor, latent: Tensor, features: Tensor) -> Tensor:
        """Return (N, 2 * outputs, r, r): the convolved channels, then the features."""
        out = self.conv(x, latent)
        extra = (features * self.noise.weight.to(features.dtype)).to(out.dtype)
        merged = torch.cat((out, extra.expand(len(out), -1, -1, -1)), 1)
        return self.activate(merged)  # type: ignore[no-any-return]


class ToRGB(nn.Module):
    """1x1 modulated convolution to RGB; adds the RGB of the level below, in float32."""

    def __init__(self, inputs: int, style_dim: int, up: bool = True) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        self.conv = ModulatedConv2d(inputs, 3, 1, style_dim, up=False)
        if up:
            self.upsample = Upsample()

    def forward(self, x: Tensor, latent: Tensor, below: Tensor | None = None) -> Tensor:
        rgb: Tensor = self.conv(x, latent).float() + self.bias.float()
        return rgb if below is None else rgb + self.upsample(below)


class Finish(nn.Module):
    """Gives the face in the output the mean colour that it has in the input; sharpens lightness.

    The unsharp mask adds `strength` times the difference of the lightness and its Gaussian blur to
    all three channels, so it makes no coloured edges.
    """

    strength: Tensor
    taps: Tensor
    lightness: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("strength", torch.zeros(1))
        steps = torch.arange(-_MASK_REACH_PX, _MASK_REACH_PX + 1, device="cpu")
        taps = torch.exp(-0.5 * (steps / _MASK_PX) ** 2)
        self.register_buffer("taps", (taps / taps.sum()).view(1, 1, 1, -1), persistent=False)
        weights = torch.tensor(_LIGHTNESS, device="cpu").view(1, 3, 1, 1)
        self.register_buffer("lightness", weights, persistent=False)

    def forward(self, x: Tensor, rgb: Tensor) -> Tensor:
        """Input and output (N, 3, S, S), RGB in [-1, 1], float32 -> the same."""
        rgb = rgb + self._mean_colour(x.float()) - self._mean_colour(rgb)
        light = functional.conv2d(rgb, self.lightness)
        blurred = functional.pad(light, [_MASK_REACH_PX] * 4, mode="reflect")
        blurred = functional.conv2d(functional.conv2d(blurred, self.taps), self.taps.mT)
        return rgb + self.strength * (light - blurred)

    @staticmethod
    def margin(size_px: int) -> int:
        """Return the width in pixels of the border that the mean leaves out.

        The half in the middle, from the brows to the mouth, is all face.
        """
        return size_px // 4

    def _mean_colour(self, images: Tensor) -> Tensor:
        border = self.margin(images.shape[-1])
        inside = images[:, :, border:-border, border:-border]
        return inside.mean((2, 3), keepdim=True)


def down_conv(inputs: int, outputs: int) -> list[nn.Module]:
    """Return the layers that halve the size: blur, 3x3 convolution of stride 2, leaky ReLU."""
    conv = EqualConv2d(inputs, outputs, 3, stride=2, padding=0)
    return [Blur(pad=2), conv, FusedLeakyReLU(outputs)]
