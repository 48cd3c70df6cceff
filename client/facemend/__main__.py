"""The command ``facemend``, also as ``python -m facemend``."""

from __future__ import annotations

from worker.cli import main

if __name__ == "__main__":
    main(prog_name="facemend")
