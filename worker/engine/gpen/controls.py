"""The controls of a generator besides its seed: noise scale and truncation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GeneratorControls:
    """How far the generator follows the photo and how far its knowledge of faces.

    With the defaults, the output equals that of a generator without controls.

    ``noise_scale`` multiplies the inputs beside each convolution, where StyleGAN2 adds noise: the
    encoder's features and, in the super-resolving form, the noise of the levels above the encoder.
    Below 1, the generator follows the photo less and its knowledge of faces more. ``truncation`` is
    the psi of StyleGAN (Karras et al., arXiv 1812.04948): it interpolates from the mean latent (0,
    the most common face) to the latent of this photo (1).
    """

    noise_scale: float = 1.0
    truncation: float = 1.0


DEFAULT_CONTROLS = GeneratorControls()
