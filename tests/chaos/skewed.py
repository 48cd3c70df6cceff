"""Runs a module whose clock is wrong: ``python -m tests.chaos.skewed SECONDS MODULE ARGS…``.

Not by libfaketime: with its 0.9.10, ``time.sleep`` of Python 3.11 and later fails with EINVAL.
"""

from __future__ import annotations

import runpy
import sys
import time


def main() -> None:
    skew_s, right = float(sys.argv[1]), time.time
    sys.argv = sys.argv[2:]
    time.time = lambda: right() + skew_s
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
