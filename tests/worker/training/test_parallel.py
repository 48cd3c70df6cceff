"""Splitting a batch changes who computes, not what."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from worker.training.parallel import Parallel


def gradients(threads: int, micro_batch: int) -> tuple[list[Tensor], dict[str, float]]:
    torch.manual_seed(1)
    model, low, sharp = (
        nn.Conv2d(3, 3, 3, padding=1),
        torch.rand(5, 3, 8, 8),
        torch.rand(5, 3, 8, 8),
    )

    def loss(low: Tensor, sharp: Tensor) -> tuple[Tensor, dict[str, float], Tensor]:
        output = model(low)
        error = (output - sharp).square().mean()
        return error, {"error": error.item()}, output

    figures, outputs = Parallel(threads, micro_batch).backward(model, loss, low, sharp)
    torch.testing.assert_close(outputs, model(low))
    found = [parameter.grad for parameter in model.parameters()]
    return [each for each in found if each is not None], figures


@pytest.mark.parametrize(("threads", "micro_batch"), [(1, 2), (2, 2), (3, 1)])
def test_parts_average_to_the_gradients_of_the_whole(threads: int, micro_batch: int) -> None:
    whole, expected = gradients(threads=1, micro_batch=5)
    parts, figures = gradients(threads, micro_batch)
    assert len(whole) == len(parts) == 2
    torch.testing.assert_close(parts, whole)
    assert figures == pytest.approx(expected)
