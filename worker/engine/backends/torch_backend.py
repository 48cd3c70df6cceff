"""The torch backend: it runs on every device of torch, and it is always installed."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature

import numpy as np
import torch
from torch import Tensor

from worker.engine.backends.backend import Images
from worker.engine.batching.batcher import RestoredCrop
from worker.engine.devices import Device, autocast, torch_device
from worker.engine.gpen.controls import DEFAULT_CONTROLS, GeneratorControls
from worker.engine.gpen.networks import Generator
from worker.imaging.decode import Pixels


class TorchBackend:
    """A generator in torch on its device."""

    name = "torch"
    batches = True

    def __init__(self, generator: Generator, device: Device, precision: str) -> None:
        self._generator = generator.eval().requires_grad_(False).to(torch_device(device))
        if isinstance(generator, Generator):
            # The layout that convolutions want on CPU and GPU alike. The networks of others may
            # contain code that works only with the plain one.
            for parameter in self._generator.parameters():
                if parameter.dim() == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        if device.type == "cuda" and precision == "fp32":
            torch.backends.cudnn.allow_tf32 = False  # its 10 bits are less than float32
        self.has_controls = "controls" in signature(generator.forward).parameters
        self._device, self.precision = torch_device(device), precision
        self.in_px, self.out_px = generator.config.in_size, generator.config.size

    @property
    def uses_seed(self) -> bool:
        """Only the super-resolving form draws noise."""
        return self.out_px > self.in_px

    def infer(
        self, images: Images, seed: int = 0, controls: GeneratorControls = DEFAULT_CONTROLS
    ) -> Images:
        """See `backends.Backend`."""
        with torch.inference_mode():
            found = self._forward(torch.from_numpy(images).to(self._device), seed, controls)
            answer: Images = found.cpu().numpy()
        return answer

    def run(
        self, crops: Sequence[Pixels], seed: int = 0, controls: GeneratorControls = DEFAULT_CONTROLS
    ) -> list[RestoredCrop]:
        """See `Backend.run`; pixels are converted on the device.

        Batch size may change a pixel by ±1: libraries pick kernels by batch size. (Measured on a
        CPU with the starter model: 4 % of the values in bf16, 5 in a million in fp32.)
        """
        with torch.inference_mode():
            x = torch.from_numpy(np.stack(crops)).to(self._device).permute(0, 3, 1, 2)
            y = self._forward(x.float() / 127.5 - 1.0, seed, controls)
            finite = y.isfinite().flatten(1).all(1).tolist()
            y = (y * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
            answers = y.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return [answer if good else None for answer, good in zip(answers, finite, strict=True)]

    def _forward(self, x: Tensor, seed: int, controls: GeneratorControls) -> Tensor:
        # Controls are passed only if they are set, so a test may use any network of images.
        keywords = {} if controls == DEFAULT_CONTROLS else {"controls": controls}
        with autocast(self.precision, self._device):
            out: Tensor = self._generator(x, seed=seed, **keywords)
        return out.float()
