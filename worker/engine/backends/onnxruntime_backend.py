"""The ONNX Runtime backend: float32 on CPU or CUDA, and TensorRT through its provider."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from shared.errors import ModelUnavailable
from worker.engine.backends.backend import INSTALL, Images, crops_to_images, images_to_crops
from worker.engine.backends.graph_inputs import (
    NOISE_SCALE,
    TRUNCATION,
    GraphInputs,
    control_inputs,
)
from worker.engine.batching.batcher import RestoredCrop
from worker.engine.devices import Device, cpu_threads
from worker.engine.gpen.controls import DEFAULT_CONTROLS, GeneratorControls
from worker.imaging.decode import Pixels

_PROVIDERS = {
    ("onnxruntime", "cpu"): "CPUExecutionProvider",
    ("onnxruntime", "cuda"): "CUDAExecutionProvider",
    ("tensorrt", "cuda"): "TensorrtExecutionProvider",
}


class OnnxRuntimeBackend:
    """An exported graph in an ONNX Runtime session."""

    def __init__(
        self, file: Path, device: Device, precision: str, name: str = "onnxruntime"
    ) -> None:
        self.name, self.precision = name, precision
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cpu_threads()
        options.log_severity_level = 3  # errors; they are raised anyway
        provider = _provider(name, device)
        chosen = [(provider, _provider_options(name, device, precision, file))]
        try:
            self._session = onnxruntime.InferenceSession(file, options, providers=chosen)
        except Exception as error:  # noqa: BLE001 - its errors share no other base
            raise ModelUnavailable(f"{name} cannot load {file}: {error!s:.300}") from None
        if provider not in self._session.get_providers():  # it fell back silently
            raise ModelUnavailable(f"{name} cannot use {device}: see its own message above")
        self.in_px = int(self._session.get_inputs()[0].shape[-1])
        self.out_px = int(self._session.get_outputs()[0].shape[-1])
        self.batches = self._session.get_inputs()[0].shape[0] != 1
        optional = {each.name for each in self._session.get_overridable_initializers()}
        self.has_controls = {NOISE_SCALE, TRUNCATION} <= optional
        self._inputs = GraphInputs((each.name, each.shape) for each in self._session.get_inputs())

    @property
    def uses_seed(self) -> bool:
        """Only the super-resolving form draws noise."""
        return self._inputs.uses_seed

    def infer(
        self, images: Images, seed: int = 0, controls: GeneratorControls = DEFAULT_CONTROLS
    ) -> Images:
        """See `backends.Backend`."""
        inputs = self._inputs.of(images, seed, controls)
        if self.has_controls:
            inputs |= control_inputs(controls)
        try:
            answer: Images = self._session.run(None, inputs)[0]
        except Exception as error:  # its errors have no other common base
            raise RuntimeError(f"{self.name}: {error}") from error
        return answer

    def run(
        self, crops: Sequence[Pixels], seed: int = 0, controls: GeneratorControls = DEFAULT_CONTROLS
    ) -> list[RestoredCrop]:
        """See `backends.Backend`."""
        return images_to_crops(self.infer(crops_to_images(crops), seed, controls))


def _provider(name: str, device: Device) -> str:
    provider = _PROVIDERS.get((name, device.type))
    if provider is None:
        raise ModelUnavailable(f"backend {name} does not run on {device}")
    if provider not in onnxruntime.get_available_providers():
        cure = "pip install onnxruntime-gpu" if name == "onnxruntime" else INSTALL[name]
        raise ModelUnavailable(f"this ONNX Runtime has no {provider}; {cure}")
    return provider


def _provider_options(name: str, device: Device, precision: str, file: Path) -> dict[str, Any]:
    if device.type == "cpu":
        return {}
    options: dict[str, Any] = {"device_id": device.index or 0}
    if name == "onnxruntime":
        return options | {"use_tf32": 0}
    return options | {
        "trt_fp16_enable": precision == "fp16",
        "trt_bf16_enable": precision == "bf16",
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(file.parent),
    }
