"""The artifacts of a restorer that spandrel reads: GFPGAN 1.x (clean) and RestoreFormer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from shared.errors import ModelUnavailable, WeightsInvalid
from worker.engine.backends.artifact_cache import ArtifactCache
from worker.engine.backends.self_check import SelfCheck
from worker.engine.brought_models.outputs import require_picture
from worker.engine.brought_models.spandrel_loading import load_descriptor
from worker.weights.model_entry import ModelEntry
from worker.weights.safe_loading import errors_name_file, load_state

if TYPE_CHECKING:
    from torch import nn

    from worker.engine.gpen.networks import Generator


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Sides of input and output, as `GpenConfig` has them."""

    in_size: int
    size: int


class SpandrelArtifacts(ArtifactCache):
    """Torch alone runs the network."""

    backends = ("torch",)
    usual_precision = "fp32"

    def __init__(self, folder: Path, weights: Path, sha256: str, entry: ModelEntry) -> None:
        super().__init__(folder, weights, sha256, form=f"{entry.in_px}")
        self._entry = entry

    @cached_property
    def generator(self) -> Generator:
        """The network on the CPU. Raises ModelUnavailable, WeightsInvalid."""
        with errors_name_file(self.weights):
            network = load_network(load_state(self.weights))
        sizes = _Sizes(self._entry.in_px or 0, self._entry.out_px or 0)
        return cast("Generator", _restorer(network, sizes))

    def graph(self) -> bytes:
        """Raises ModelUnavailable: there is no export of such a network."""
        raise ModelUnavailable(f"{self.weights} runs in torch only: it cannot be exported")

    def make_self_check(self) -> SelfCheck:
        """Run the network. Raises WeightsInvalid if its output is no picture."""
        try:
            made = super().make_self_check()
        except RuntimeError as error:
            raise WeightsInvalid(f"{self.weights} cannot run: {error!s:.300}") from None
        require_picture(self.weights, made.expected, self._entry)
        return made


def load_network(state: dict[str, Any]) -> nn.Module:
    """Return the network of a state dict: GFPGAN or RestoreFormer, no other.

    Raises WeightsInvalid for another architecture, ModelUnavailable if spandrel is not installed.
    """
    what = "those of GFPGAN (1.2 to 1.4) or RestoreFormer"
    network: nn.Module = load_descriptor(state, what, ("GFPGAN", "RestoreFormer")).model
    return network


def _restorer(network: nn.Module, sizes: _Sizes) -> nn.Module:
    from torch import Tensor, nn  # noqa: PLC0415 - the same

    class Restorer(nn.Module):
        """Takes and returns RGB in [-1, 1], (N, 3, S, S). ``seed`` changes nothing."""

        def __init__(self) -> None:
            super().__init__()
            self.network, self.config = network, sizes
            stored = type(network).__name__ == "GFPGANv1Clean"  # the noise in the file, not random
            self._options = {"return_rgb": False, "randomize_noise": False} if stored else {}

        def forward(self, x: Tensor, *, seed: int = 0) -> Tensor:
            found: Tensor = self.network(x.contiguous(), **self._options)[0]
            return found

    return Restorer().eval().requires_grad_(False)
