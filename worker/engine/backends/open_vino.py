"""OpenVINO on the CPU: float32, and bfloat16 where the hardware has it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch

from shared.errors import ModelUnavailable
from worker.engine.backends import INPUT, Images, to_answers, to_images
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
        self._compile = partial(_compile, core, file, config)
        alone = self._compile(batch=1)
        image, *noise = alone.inputs
        self.in_px, self.out_px = (int(each.get_shape()[3]) for each in (image, alone.outputs[0]))
        self._noise = {each.any_name: tuple(each.get_shape()) for each in noise}
        self._alone = alone.create_infer_request()

    @cached_property
    def _together(self) -> Any:
        """For any size of batch. One face at a time goes 8 % faster where that is known."""
        return self._compile(batch=-1).create_infer_request()

    @property
    def takes_seed(self) -> bool:
        """Only the super-resolving form draws noise."""
        return bool(self._noise)

    def infer(self, images: Images, seed: int = 0, controls: Controls = DEFAULT) -> Images:
        """See `backends.Backend`."""
        require_default(controls, self.name)
        inputs = [images, *noise_maps(self._noise, seed).values()]
        request = self._alone if len(images) == 1 else self._together
        answer = request.infer(inputs, share_inputs=True)[0]
        return np.array(answer, np.float32)  # the request writes its next answer to the same place

    def run(
        self, crops: Sequence[Pixels], seed: int = 0, controls: Controls = DEFAULT
    ) -> list[Answer]:
        """See `backends.Backend`."""
        return to_answers(self.infer(to_images(crops), seed, controls))


def _compile(core: Any, file: Path, config: dict[str, Any], *, batch: int) -> Any:
    try:
        model = core.read_model(file)
        size = model.input(INPUT).get_partial_shape()[3]
        model.reshape({INPUT: [batch, 3, size, size]})
        return core.compile_model(model, "CPU", config)
    except RuntimeError as error:
        raise ModelUnavailable(f"openvino cannot load {file}: {error!s:.300}") from None
