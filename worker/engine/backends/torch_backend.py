"""The backend that is always there: the generator in torch, on whatever device torch has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from worker.engine.backends import Images
from worker.engine.batching.batcher import Answer
from worker.engine.controls import DEFAULT, Controls
from worker.engine.devices import autocast
from worker.engine.gpen.networks import Generator
from worker.imaging.decode import Pixels


class Network:
    """A generator on its device. Owned by one thread: nothing here is locked."""

    name = "torch"

    def __init__(self, generator: Generator, device: torch.device, precision: str) -> None:
        self._generator = generator.eval().requires_grad_(False).to(device)
        for parameter in self._generator.parameters():
            if parameter.dim() == 4:  # the layout that convolutions want on CPU and GPU alike
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        if device.type == "cuda" and precision == "fp32":
            torch.backends.cudnn.allow_tf32 = False  # its 10 bits would not be float32
        self._device, self.precision = device, precision
        self.in_px, self.out_px = generator.config.in_size, generator.config.size

    @property
    def takes_seed(self) -> bool:
        """Only the super-resolving form draws noise."""
        return self.out_px > self.in_px

    def infer(self, images: Images, seed: int = 0, controls: Controls = DEFAULT) -> Images:
        """See `backends.Backend`."""
        with torch.inference_mode():
            found = self._forward(torch.from_numpy(images).to(self._device), seed, controls)
            answer: Images = found.cpu().numpy()
        return answer

    def run(
        self, crops: Sequence[Pixels], seed: int = 0, controls: Controls = DEFAULT
    ) -> list[Answer]:
        """See `backends.Backend`; pixels become numbers, and numbers pixels, on the device.

        The company a crop has in its batch may move a value by one step of 255, for the libraries
        below choose their kernels by the batch's size. (Measured on a CPU with the starter model:
        4 % of the values in bf16, 5 in a million in fp32.)
        """
        with torch.inference_mode():
            x = torch.from_numpy(np.stack(crops)).to(self._device).permute(0, 3, 1, 2)
            y = self._forward(x.float() / 127.5 - 1.0, seed, controls)
            finite = y.isfinite().flatten(1).all(1).tolist()
            y = (y * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
            answers = y.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return [answer if good else None for answer, good in zip(answers, finite, strict=True)]

    def _forward(self, x: Tensor, seed: int, controls: Controls) -> Tensor:
        # Only what is asked for is passed on: anything that takes images may stand in for GPEN.
        turned = {} if controls == DEFAULT else {"controls": controls}
        with autocast(self.precision, self._device):
            out: Tensor = self._generator(x, seed=seed, **turned)
        return out.float()
