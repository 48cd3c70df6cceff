"""Several processes that train one network, started by torchrun: each computes on its own photos.

Gradients are averaged after each step, so all processes hold the same weights. One process without
torchrun is the same thing with nobody to talk to.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from shared.errors import SettingsInvalid


@dataclass(frozen=True)
class Processes:
    """``rank`` of this process among ``count``."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def average_gradients(self, model: nn.Module) -> None:
        """Set each gradient to its mean over the processes."""
        if self.count == 1:
            return
        gradients = [each.grad for each in model.parameters() if each.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.count
        pieces = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, piece in zip(gradients, pieces, strict=True):
            gradient.copy_(piece.view_as(gradient))

    def any(self, condition: bool) -> bool:
        """Return whether the condition holds in at least one process."""
        if self.count == 1:
            return condition
        held = torch.tensor(float(condition))
        distributed.all_reduce(held, distributed.ReduceOp.MAX)
        return bool(held.item())

    def share_weights(self, tensors: Sequence[Tensor]) -> None:
        """Set the tensors of all processes to those of the first."""
        if self.count > 1:
            for tensor in tensors:
                distributed.broadcast(tensor.data, 0)


@contextmanager
def joined_processes(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun started, if it did, and leave them at the end.

    Raises SettingsInvalid if the environment is not one of torchrun.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    backend = "nccl" if torch.device(device).type == "cuda" else "gloo"
    try:
        distributed.init_process_group(backend)
    except (RuntimeError, ValueError) as error:
        raise SettingsInvalid(f"torchrun's processes cannot be joined: {error!s:.200}") from None
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
