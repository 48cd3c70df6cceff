"""Benchmark of the service, compared with a minimal hand-written one: ``make bench-service``."""
