"""Choose and install a build of torch: ``python deploy/setup/torch_build.py PYTHON``.

Its default build carries CUDA, gigabytes that a machine without a GPU has no use for, under the
same name and version as the CPU build. So it is installed on its own, before all that asks for it.

FACEMEND_TORCH=gpu     take the default build, with CUDA
FACEMEND_TORCH_INDEX   where the CPU builds are (default: the PyTorch project's own index)
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from deploy.setup.pip_progress import PipFailed, run_pip

TORCH = "torch==2.13.0"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


@dataclass(frozen=True)
class Source:
    name: str
    options: tuple[str, ...]


def sources(environ: Mapping[str, str]) -> list[Source]:
    """Where to look for torch, best first."""
    gpu = Source("the default build, which has CUDA in it: several gigabytes", ())
    if environ.get("FACEMEND_TORCH") == "gpu":
        return [gpu]
    index = environ.get("FACEMEND_TORCH_INDEX") or CPU_INDEX
    quick = ("--no-deps", "--index-url", index, "--retries", "0", "--timeout", "10")
    return [
        Source("a wheel on this machine", ("--no-deps", "--no-index")),
        Source("the CPU build, about 190 MB to download", quick),
        gpu,
    ]


def install(python: Path, environ: Mapping[str, str]) -> None:
    """Install from the first source that has it. Raises PipFailed."""
    print(f"installing {TORCH}, the largest part (about 700 MB on disk)", flush=True)
    choices = sources(environ)
    for source in choices:
        print(f"  trying {source.name}", flush=True)
        try:
            run_pip(python, ["install", *source.options, TORCH])
        except PipFailed:
            if source is choices[-1]:
                raise
        else:
            return


if __name__ == "__main__":
    try:
        install(Path(sys.argv[1]), os.environ)
    except PipFailed as error:
        sys.exit(str(error))
