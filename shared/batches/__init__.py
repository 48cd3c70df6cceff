"""Batches: many jobs that were requested together, with one summary and one event."""
