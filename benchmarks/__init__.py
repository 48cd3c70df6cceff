"""Benchmarks of the engine and the service, described in docs/benchmarks.md; not packaged."""
