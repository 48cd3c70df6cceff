"""Gradients of parts of a batch, computed side by side in threads and averaged.

On a CPU that other programs use too, one thread per part is much faster than splitting every
operation between threads: they meet once a step instead of some hundred times.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], tuple[Tensor, dict[str, float]]]


class Parallel:
    """A pool of threads, each of which computes alone; one thread means the calling one."""

    def __init__(self, threads: int, part: int) -> None:
        """`part` is the number of photos that one thread takes at a time."""
        self.part = part
        self._pool = None
        if threads > 1:
            self._pool = ThreadPoolExecutor(threads, "part", torch.set_num_threads, (1,))

    def backward(
        self, model: nn.Module, loss: Loss, low: Tensor, sharp: Tensor
    ) -> dict[str, float]:
        """Set the model's gradients to those of the mean loss; answers the mean figures."""
        parameters = list(model.parameters())

        def solve(one: Tensor, other: Tensor) -> tuple[tuple[Tensor, ...], dict[str, float]]:
            total, figures = loss(one, other)
            return torch.autograd.grad(total, parameters), figures

        parts = torch.split(low, self.part), torch.split(sharp, self.part)
        solved = list(self._pool.map(solve, *parts) if self._pool else map(solve, *parts))
        weights = [len(part) / len(low) for part in parts[0]]
        sums = [torch.zeros_like(parameter) for parameter in parameters]
        for weight, (gradients, _) in zip(weights, solved, strict=True):
            torch._foreach_add_(sums, gradients, alpha=weight)
        for parameter, gradient in zip(parameters, sums, strict=True):
            parameter.grad = gradient
        return {
            key: sum(w * figures[key] for w, (_, figures) in zip(weights, solved, strict=True))
            for key in solved[0][1]
        }
