"""GPEN: the generator that restores a face, and the discriminator that trains it.

Written from the paper (Yang et al., "GAN Prior Embedded Network for Blind Face Restoration in the
Wild", arXiv 2105.06070) and StyleGAN2 (Karras et al., arXiv 1912.04958). Key names and sizes are
those of the published checkpoints, so they load unchanged.

The network has the shape of a U: the encoder halves the image step by step to 4x4, a linear layer
and a mapping turn that into one latent, and a StyleGAN2 decoder enlarges it to an image again. The
encoder's features replace StyleGAN2's noise: they are concatenated to the output of the styled
convolutions.

Images are float RGB in [-1, 1] of shape (N, 3, S, S); the output is not clamped. The networks run
in float32, and in half precision under `torch.autocast`; the latent, the demodulation and the sum
of RGB stay in float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from worker.engine.gpen.config import (
    GpenConfig,
    infer_config,
    infer_discriminator_config,
    unwrap,
)
from worker.engine.gpen.controls import DEFAULT_CONTROLS, GeneratorControls
from worker.engine.gpen.layers import (
    Blur,
    EqualConv2d,
    EqualLinear,
    Finish,
    FusedLeakyReLU,
    PixelNorm,
    StyledConv,
    ToRGB,
    down_conv,
)
from worker.weights.safe_loading import load_strictly, refuse

__all__ = [
    "Decoder",
    "Discriminator",
    "Generator",
    "GpenConfig",
    "build_generator",
    "infer_config",
    "load_discriminator",
    "load_generator",
]

_MEAN_SAMPLES = 4096  # the means of two such samples differ by 1.4 %, latents of faces by 60 %


class Constant(nn.Module):
    """The learned 4x4 start of the decoder."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, channels, 4, 4))


class Decoder(nn.Module):
    """StyleGAN2's mapping and synthesis; all layers use one latent."""

    def __init__(self, config: GpenConfig) -> None:
        super().__init__()
        dim, base = config.style_dim, config.channels(4)
        mapping = [EqualLinear(dim, dim, lr_mul=0.01) for _ in range(config.n_mlp)]
        self.style = nn.Sequential(PixelNorm(), *mapping)
        self.input = Constant(base)
        self.conv1 = StyledConv(base, base, dim, up=False)
        self.to_rgb1 = ToRGB(2 * base, dim, up=False)
        self.convs, self.to_rgbs = nn.ModuleList(), nn.ModuleList()
        for level in range(3, config.size.bit_length()):
            below, width = config.channels(2 ** (level - 1)), config.channels(2**level)
            self.convs.append(StyledConv(2 * below, width, dim, up=True))
            self.convs.append(StyledConv(2 * width, width, dim, up=False))
            self.to_rgbs.append(ToRGB(2 * width, dim))

    def forward(self, latent: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """Return RGB (N, 3, size, size). `maps`: one at 4x4, then two per higher resolution."""
        start = self.input.input.to(maps[0].dtype).expand(len(latent), -1, -1, -1)
        x = self.conv1(start, latent, maps[0])
        rgb = self.to_rgb1(x, latent)
        for level, to_rgb in enumerate(self.to_rgbs):
            x = self.convs[2 * level](x, latent, maps[2 * level + 1])
            x = self.convs[2 * level + 1](x, latent, maps[2 * level + 2])
            rgb = to_rgb(x, latent, rgb)
        return rgb  # type: ignore[no-any-return]


class Generator(nn.Module):
    """Restores aligned faces: (N, 3, in_size, in_size) -> (N, 3, size, size), RGB in [-1, 1]."""

    def __init__(self, config: GpenConfig) -> None:
        super().__init__()
        self.config = config
        self.levels = config.in_size.bit_length() - 2
        width = config.channels(config.in_size)
        first = nn.Sequential(EqualConv2d(3, width, 1, stride=1, padding=0), FusedLeakyReLU(width))
        self.add_module("ecd0", nn.Sequential(first))
        for level in range(1, self.levels):
            outputs = config.channels(config.in_size >> level)
            block = nn.Sequential(*down_conv(width, outputs))
            self.add_module(f"ecd{level}", nn.Sequential(block))
            width = outputs
        self.final_linear = nn.Sequential(EqualLinear(width * 16, config.style_dim))
        self.generator = Decoder(config)
        self.finish = Finish() if config.finish else None
        self._mean: Tensor | None = None

    def forward(
        self, x: Tensor, *, seed: int = 0, controls: GeneratorControls = DEFAULT_CONTROLS
    ) -> Tensor:
        """Return the restored images, float32, not clamped.

        Only the super-resolving form uses `seed`: it determines the noise of the levels above the
        encoder. The noise is the same for every image, so a face does not depend on its batch.
        """
        features, encoded = self.encode(x)
        latent = self.generator.style(encoded)
        maps = [each for each in features for _ in range(2)][1:]
        maps += self._noise(maps[-1], seed)
        if controls.truncation != 1:
            latent = torch.lerp(self.mean_latent(), latent, controls.truncation)
        if controls.noise_scale != 1:
            maps = [each * controls.noise_scale for each in maps]
        rgb: Tensor = self.generator(latent, maps)
        return rgb if self.finish is None else self.finish(x, rgb)

    def encode(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the feature maps from 4x4 to `in_size`, and the mapping's input (N, style_dim)."""
        features: list[Tensor] = []
        for level in range(self.levels):
            x = self.get_submodule(f"ecd{level}")(x)
            features.insert(0, x)
        return features, self.final_linear(x.flatten(1))

    def latent(self, x: Tensor) -> Tensor:
        """Return the latent (N, style_dim) after the mapping, float32; all styles depend on it."""
        return self.generator.style(self.encode(x)[1])  # type: ignore[no-any-return]

    def mean_latent(self) -> Tensor:
        """Return the mean output of the mapping over fixed Gaussian vectors: (1, style_dim).

        It is computed at the first call only, so the weights must be final then.
        """
        place = self.get_parameter("final_linear.0.weight").device
        if self._mean is None:
            shape = (_MEAN_SAMPLES, self.config.style_dim)
            vectors = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
            with torch.no_grad():
                self._mean = self.generator.style(torch.from_numpy(vectors).to(place)).mean(0)[None]
        return self._mean.to(place)

    def _noise(self, like: Tensor, seed: int) -> list[Tensor]:
        """Return two Gaussian maps (1, C, r, r) for each level above `in_size`.

        numpy draws them, because torch's generators differ between devices.
        """
        maps, resolution = [], self.config.in_size
        source = np.random.default_rng(seed)
        while (resolution := 2 * resolution) <= self.config.size:
            shape = (1, self.config.channels(resolution), resolution, resolution)
            for _ in range(2):
                noise = torch.from_numpy(source.standard_normal(shape, dtype=np.float32))
                maps.append(noise.to(like.device, like.dtype))
        return maps


class ResidualDown(nn.Module):
    """Discriminator block: two 3x3 convolutions, the second of stride 2, beside a 1x1 shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        conv = EqualConv2d(inputs, inputs, 3, stride=1, padding=1)
        self.conv1 = nn.Sequential(conv, FusedLeakyReLU(inputs))
        self.conv2 = nn.Sequential(*down_conv(inputs, outputs))
        # The blur has the stride: a 1x1 convolution with a stride would ignore 3 of 4 pixels.
        shortcut = EqualConv2d(inputs, outputs, 1, stride=1, padding=0)
        self.skip = nn.Sequential(Blur(pad=1, down=2), shortcut)

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv2(self.conv1(x)) + self.skip(x)) * 0.5**0.5  # type: ignore[no-any-return]


class Discriminator(nn.Module):
    """Distinguishes photos from restored images: (N, 3, size, size) -> (N, 1) scores, float32."""

    def __init__(self, config: GpenConfig) -> None:
        super().__init__()
        self.config = config
        width = config.channels(config.size)
        first = nn.Sequential(EqualConv2d(3, width, 1, stride=1, padding=0), FusedLeakyReLU(width))
        blocks: list[nn.Module] = [first]
        for level in range(config.size.bit_length() - 2, 1, -1):
            outputs = config.channels(2**level)
            blocks.append(ResidualDown(width, outputs))
            width = outputs
        self.convs = nn.Sequential(*blocks)
        last = EqualConv2d(width + 1, width, 3, stride=1, padding=1)
        self.final_conv = nn.Sequential(last, FusedLeakyReLU(width))
        self.final_linear = nn.Sequential(
            EqualLinear(width * 16, width), EqualLinear(width, 1, act=False)
        )

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the feature maps from full size down to 4x4; `judge` scores the last one."""
        maps = []
        for block in self.convs:
            x = block(x)
            maps.append(x)
        return maps

    def judge(self, x: Tensor) -> Tensor:
        """Return scores of 4x4 maps. One more channel has the deviation over the whole batch."""
        spread = (x.float().var(dim=0, correction=0) + 1e-8).sqrt().mean().to(x.dtype)
        x = torch.cat((x, spread.expand(len(x), 1, 4, 4)), 1)
        return self.final_linear(self.final_conv(x).flatten(1))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        return self.judge(self.features(x)[-1])


def build_generator(config: GpenConfig) -> Generator:
    """Return a generator with StyleGAN2's random initial weights, in float32."""
    return Generator(config)


def load_generator(weights: Mapping[str, Any]) -> Generator:
    """Return a generator with these weights: a state dict, or a checkpoint with one under `g_ema`.

    Half-precision tensors become float32; float32 tensors are shared, not copied. Raises
    WeightsInvalid for a key that is missing, unknown or of the wrong shape or type, and for a
    `kernel` that is not the FIR kernel.
    """
    state = unwrap(weights, "g_ema")
    with torch.device("meta"):
        model = Generator(infer_config(state))
    _fill(model, state)
    return model


def load_discriminator(weights: Mapping[str, Any]) -> Discriminator:
    """Return a discriminator with these weights: a state dict, or a checkpoint with one under `d`.

    Raises WeightsInvalid, as `load_generator` does.
    """
    state = unwrap(weights, "d")
    with torch.device("meta"):
        model = Discriminator(infer_discriminator_config(state))
    _fill(model, state)
    return model


def _fill(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Load strictly, in float32, into a model on the meta device; keep our own FIR kernels."""
    ours = {key: like for key, like in model.state_dict().items() if key.endswith("kernel")}
    load_strictly(model, state, "GPEN")
    refuse("GPEN", "not the FIR kernel", [key for key in ours if not _is_fir(state[key])])
    model.load_state_dict(ours, strict=False, assign=True)


def _is_fir(kernel: Tensor) -> bool:
    """Whether the kernel is proportional to ours. The architecture determines its gain."""
    ours, theirs = Blur(pad=0).kernel, kernel.detach().float().cpu()
    return bool(theirs.sum() > 0 and torch.allclose(theirs / theirs.sum(), ours, atol=1e-3))
