"""How a face is drawn: what may be turned on a generator beside its seed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Controls:
    """At the default the network's answer is exactly that without controls.

    ``noise_scale`` multiplies what goes in beside each convolution, where StyleGAN2 has its noise:
    the encoder's features and, in the super-resolving form, the noise of the levels above it. Less
    than 1 leans on what the network knows of faces, more on the picture. ``truncation`` is
    StyleGAN's psi: 0 takes the mapping's mean latent, the most common face, in place of the one
    seen.
    """

    noise_scale: float = 1.0
    truncation: float = 1.0


DEFAULT = Controls()
