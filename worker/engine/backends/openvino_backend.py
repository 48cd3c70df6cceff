"""The OpenVINO backend: float32 on the CPU, and bfloat16 if the hardware has it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import openvino

from shared.errors import ModelUnavailable
from worker.engine.backends.backend import Images, crops_to_images, images_to_crops
from worker.engine.backends.graph_inputs import INPUT, NOISE_SCALE, TRUNCATION, GraphInputs
from worker.engine.batching.batcher import RestoredCrop
from worker.engine.devices import Device, cpu_threads
from worker.engine.gpen.controls import DEFAULT_CONTROLS, GeneratorControls
from worker.imaging.decode import Pixels

_HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoBackend:
    """An exported graph, compiled for this CPU at any batch size."""

    name = "openvino"

    def __init__(self, file: Path, device: Device, precision: str) -> None:
        if device.type != "cpu" or precision not in _HINTS:
            raise ModelUnavailable(f"backend openvino does not run {precision} on {device}")
        self.precision = precision
        if precision == "bf16" and "BF16" not in core().get_property(
            "CPU", "OPTIMIZATION_CAPABILITIES"
        ):
            raise ModelUnavailable("backend openvino: this CPU has no bf16 arithmetic")
        config = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "INFERENCE_NUM_THREADS": cpu_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._file, self._compile = file, partial(_compile, config)
        model = _read(file)
        self.batches = model.input(INPUT).get_partial_shape()[0].is_dynamic
        alone = self._compile(model, batch=1)
        ends = (alone.input(INPUT), alone.output(0))
        self.in_px, self.out_px = (int(each.get_shape()[3]) for each in ends)
        self._single = _Request(alone)

    @cached_property
    def _any_batch(self) -> _Request:
        """For any batch size. One face at a time is 8 % faster in a graph of batch size 1."""
        return _Request(self._compile(_read(self._file), batch=-1))

    @cached_property
    def _with_controls(self) -> _Request:
        """With controls as inputs. The other graphs are 8 % faster with controls fixed to 1."""
        return _Request(self._compile(_read(self._file), batch=-1, controls=True))

    @cached_property
    def has_controls(self) -> bool:
        """Only the graphs of our own networks have them."""
        nodes = _read(self._file).get_ordered_ops()
        return {NOISE_SCALE, TRUNCATION} <= {node.get_friendly_name() for node in nodes}

    @property
    def uses_seed(self) -> bool:
        """Only the super-resolving form draws noise."""
        return self._single.inputs.uses_seed

    def infer(
        self, images: Images, seed: int = 0, controls: GeneratorControls = DEFAULT_CONTROLS
    ) -> Images:
        """See `backends.Backend`."""
        if controls != DEFAULT_CONTROLS:
            return self._with_controls(images, seed, controls)
        request = self._single if len(images) == 1 else self._any_batch
        return request(images, seed, controls)

    def run(
        self, crops: Sequence[Pixels], seed: int = 0, controls: GeneratorControls = DEFAULT_CONTROLS
    ) -> list[RestoredCrop]:
        """See `backends.Backend`."""
        return images_to_crops(self.infer(crops_to_images(crops), seed, controls))


def convert(graph: bytes, file: Path) -> None:
    """Write an ONNX graph in OpenVINO's format: ``file`` (``.xml``) and a ``.bin`` beside it."""
    openvino.save_model(core().read_model(graph), file, compress_to_fp16=False)


class _Request:
    """A compiled model with the buffer for its output."""

    def __init__(self, compiled: Any) -> None:
        self.inputs = GraphInputs((_name(each), _shape(each)) for each in compiled.inputs)
        self._request = compiled.create_infer_request()

    def __call__(self, images: Images, seed: int, controls: GeneratorControls) -> Images:
        inputs = list(self.inputs.of(images, seed, controls).values())  # by place: it renames some
        answer = self._request.infer(inputs, share_inputs=True)[0]
        return np.array(answer, np.float32)  # the next output overwrites this buffer


def _name(port: Any) -> str:
    """An input has further names if the graph passes it on unchanged."""
    return INPUT if INPUT in port.get_names() else str(port.any_name)


def _shape(port: Any) -> tuple[int, ...]:
    """Of all but the images every length is known."""
    return tuple(each.get_length() if each.is_static else 0 for each in port.get_partial_shape())


@cache
def core() -> Any:
    """Return the one core of this process, which is never freed.

    Each core installs an alternate signal stack. If the first of two cores is freed before the
    second, the second restores the stack of the first, which no longer exists. Then the next signal
    ends the process at once.
    """
    return openvino.Core()


def _read(file: Path) -> Any:
    try:
        return core().read_model(file)
    except RuntimeError as error:
        raise ModelUnavailable(f"openvino cannot load {file}: {error!s:.300}") from None


def _compile(config: dict[str, Any], model: Any, *, batch: int, controls: bool = False) -> Any:
    try:
        size = model.input(INPUT).get_partial_shape()[3]
        model.reshape({INPUT: [batch, 3, size, size]})
        if controls:
            _free_controls(model)
        return core().compile_model(model, "CPU", config)
    except RuntimeError as error:
        raise ModelUnavailable(f"openvino cannot compile the model: {error!s:.300}") from None


def _free_controls(model: Any) -> None:
    """Make inputs of the constants that stand for them: OpenVINO knows no default for an input."""
    for node in model.get_ordered_ops():
        if (name := node.get_friendly_name()) in {NOISE_SCALE, TRUNCATION}:
            parameter = openvino.op.Parameter(openvino.Type.f32, openvino.Shape([1]))
            parameter.output(0).set_names({name})
            node.output(0).replace(parameter.output(0))
            model.add_parameters([parameter])
