"""OpenVINO on the CPU: float32, and bfloat16 where the hardware has it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino
import torch

from shared.errors import ModelUnavailable
from worker.engine.backends import Images, to_answers, to_images
from worker.engine.backends.noise import noise_maps
from worker.engine.batching import Answer
from worker.engine.controls import DEFAULT, Controls, require_default
from worker.engine.images import Pixels

_HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoBackend:
    """An exported graph, compiled for this CPU at any batch size."""

    name = "openvino"

    def __init__(self, file: Path, device: torch.device, precision: str) -> None:
        if device.type != "cpu" or precision not in _HINTS:
            raise ModelUnavailable(f"backend openvino does not run {precision} on {device}")
        self.precision = precision
        core = openvino.Core()
        if precision == "bf16" and "BF16" not in core.get_property(
            "CPU", "OPTIMIZATION_CAPABILITIES"
        ):
            raise ModelUnavailable("backend openvino: this CPU has no bf16 arithmetic")
        config = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            compiled = core.compile_model(core.read_model(file), "CPU", config)
        except RuntimeError as error:
            raise ModelUnavailable(f"openvino cannot load {file}: {error!s:.300}") from None
        image, *noise = compiled.inputs
        self.in_px = int(image.get_partial_shape()[3].get_length())
        self.out_px = int(compiled.outputs[0].get_partial_shape()[3].get_length())
        self._noise = {each.any_name: tuple(each.get_shape()) for each in noise}
        self._request = compiled.create_infer_request()

    @property
    def takes_seed(self) -> bool:
        """Only the super-resolving form draws noise."""
        return bool(self._noise)

    def infer(self, images: Images, seed: int = 0, controls: Controls = DEFAULT) -> Images:
        """See `backends.Backend`."""
        require_default(controls, self.name)
        inputs = [images, *noise_maps(self._noise, seed).values()]
        answer = self._request.infer(inputs, share_inputs=True)[0]
        return np.array(answer, np.float32)  # the request writes its next answer to the same place

    def run(
        self, crops: Sequence[Pixels], seed: int = 0, controls: Controls = DEFAULT
    ) -> list[Answer]:
        """See `backends.Backend`."""
        return to_answers(self.infer(to_images(crops), seed, controls))
