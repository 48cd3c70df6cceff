"""Gradients of micro-batches, computed one after the other or side by side, and averaged.

This is gradient accumulation: a batch larger than memory holds. On a CPU that other programs use
too, one thread for each micro-batch is much faster than splitting every operation between threads:
they meet once a step instead of some hundred times.
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

    def __init__(self, threads: int, micro_batch: int) -> None:
        """`micro_batch` is the number of photos that one thread takes at a time."""
        self.micro_batch = micro_batch
        self._pool = None
        if threads > 1:
            self._pool = ThreadPoolExecutor(threads, "micro-batch", torch.set_num_threads, (1,))

    def backward(
        self, model: nn.Module, loss: Loss, one: Tensor, other: Tensor, *, scale: float = 1.0
    ) -> tuple[Figures, Tensor]:
        """Set the model's gradients to those of the mean loss; return mean figures, all outputs.

        The loss is multiplied by ``scale`` on the way back, against underflow in half precision.
        Frozen parameters keep the gradient that they have, which is none.
        """
        parameters = [each for each in model.parameters() if each.requires_grad]

        def solve(one: Tensor, other: Tensor) -> tuple[Sequence[Tensor], Figures, Tensor]:
            total, figures, output = loss(one, other)
            found = torch.autograd.grad(scale * total, parameters, allow_unused=True)
            pairs = zip(found, parameters, strict=True)
            gradients = [torch.zeros_like(p) if g is None else g for g, p in pairs]
            return gradients, figures, output.detach()

        batches = torch.split(one, self.micro_batch), torch.split(other, self.micro_batch)
        solved = list(self._pool.map(solve, *batches) if self._pool else map(solve, *batches))
        shares = [len(each) / len(one) for each in batches[0]]
        sums = [torch.zeros_like(parameter) for parameter in parameters]
        for share, (gradients, _, _) in zip(shares, solved, strict=True):
            torch._foreach_add_(sums, list(gradients), alpha=share / scale)
        for parameter, gradient in zip(parameters, sums, strict=True):
            parameter.grad = gradient
        return _mean(shares, [each[1] for each in solved]), torch.cat([each[2] for each in solved])


def _mean(shares: Sequence[float], figures: Sequence[Figures]) -> Figures:
    pairs = list(zip(shares, figures, strict=True))
    return {key: sum(share * each[key] for share, each in pairs) for key in figures[0]}
