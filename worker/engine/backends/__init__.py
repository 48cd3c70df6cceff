"""The backends that can run a generator: torch, ONNX Runtime, OpenVINO and TensorRT."""
