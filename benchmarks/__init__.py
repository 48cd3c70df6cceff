"""What is measured, each against its peer; docs/benchmarks.md says how. Not part of the package."""
