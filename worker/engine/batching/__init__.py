"""Batches of faces: one thread owns the device."""
