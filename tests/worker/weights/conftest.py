"""Fixtures of the engine's tests that tests of weights use too."""

from __future__ import annotations

from tests.worker.engine.conftest import astronaut_pixels, models_dir

__all__ = ["astronaut_pixels", "models_dir"]
