"""Batches of faces: the queue in front of the device, and the best batch size."""
