"""Restorers of others: ONNX graphs, and the networks that spandrel reads."""
