"""Gradients of parts of a batch, computed side by side in threads and averaged.

On a CPU that other programs use too, one thread per part is much faster than splitting every
operation between threads: they meet once a step instead of some hundred times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

Figures = dict[str, float]
#: From two batches to the loss, figures for the log, and an output to hand back.
Loss = Callable[[Tensor, Tensor], tuple[Tensor, Figures, Tensor]]


class Parallel:
    """A pool of threads, each of which computes alone; one thread means the calling one."""

    def __init__(self, threads: int, part: int) -> None:
        """`part` is the number of photos that one thread takes at a time."""
        self.part = part
        self._pool = None
        if threads > 1:
            self._pool = ThreadPoolExecutor(threads, "part", torch.set_num_threads, (1,))

    def backward(
        self, model: nn.Module, loss: Loss, one: Tensor, other: Tensor
    ) -> tuple[Figures, Tensor]:
        """Set the model's gradients to those of the mean loss; mean figures, and all outputs."""
        parameters = list(model.parameters())

        def solve(one: Tensor, other: Tensor) -> tuple[Sequence[Tensor], Figures, Tensor]:
            total, figures, output = loss(one, other)
            return torch.autograd.grad(total, parameters), figures, output.detach()

        parts = torch.split(one, self.part), torch.split(other, self.part)
        solved = list(self._pool.map(solve, *parts) if self._pool else map(solve, *parts))
        shares = [len(part) / len(one) for part in parts[0]]
        sums = [torch.zeros_like(parameter) for parameter in parameters]
        for share, (gradients, _, _) in zip(shares, solved, strict=True):
            torch._foreach_add_(sums, list(gradients), alpha=share)
        for parameter, gradient in zip(parameters, sums, strict=True):
            parameter.grad = gradient
        return _mean(shares, [each[1] for each in solved]), torch.cat([each[2] for each in solved])


def _mean(shares: Sequence[float], figures: Sequence[Figures]) -> Figures:
    pairs = list(zip(shares, figures, strict=True))
    return {key: sum(share * each[key] for share, each in pairs) for key in figures[0]}
