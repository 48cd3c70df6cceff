"""A generator on its device: uint8 crops in, uint8 crops out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from worker.engine.batching import Answer
from worker.engine.devices import autocast
from worker.engine.gpen import Generator
from worker.engine.images import Pixels


class Network:
    """Owned by one thread: nothing here is locked."""

    def __init__(self, generator: Generator, device: torch.device, precision: str) -> None:
        self._generator = generator.eval().requires_grad_(False).to(device)
        for parameter in self._generator.parameters():
            if parameter.dim() == 4:  # the layout that convolutions want on CPU and GPU alike
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self._device, self._precision = device, precision
        self.in_px, self.out_px = generator.config.in_size, generator.config.size

    @property
    def takes_seed(self) -> bool:
        """Only the super-resolving form draws noise."""
        return self.out_px > self.in_px

    def run(self, crops: Sequence[Pixels], seed: int) -> list[Answer]:
        """Restore uint8 (in_px, in_px, 3) crops to (out_px, out_px, 3); see batching.Answer.

        The company a crop has in its batch may move a value by one step of 255, for the libraries
        below choose their kernels by the batch's size. (Measured on a CPU with the starter model:
        4 % of the values in bf16, 5 in a million in fp32.)
        """
        with torch.inference_mode(), autocast(self._precision, self._device):
            x = torch.from_numpy(np.stack(crops)).to(self._device).permute(0, 3, 1, 2)
            y = self._generator(x.float() / 127.5 - 1.0, seed=seed).float()
            finite = y.isfinite().flatten(1).all(1).tolist()
            y = (y * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
            answers = y.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return [answer if good else None for answer, good in zip(answers, finite, strict=True)]
