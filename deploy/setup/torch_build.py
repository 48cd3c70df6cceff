"""Choose and install a build of torch: ``python deploy/setup/torch_build.py PYTHON``.

The default build contains CUDA, several gigabytes that a machine without a GPU does not need.
The CPU build has the same name and version, so torch is installed before all other packages.

FACEMEND_TORCH=gpu     install the default build, with CUDA
FACEMEND_TORCH_INDEX   package index of the CPU builds (default: the index of the PyTorch project)
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from deploy.setup.installer import Installer, InstallFailed

TORCH = "torch==2.13.0"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


@dataclass(frozen=True)
class Source:
    name: str
    options: tuple[str, ...]


def sources(environ: Mapping[str, str]) -> list[Source]:
    """Return the places to look for torch, the best one first."""
    gpu = Source("the default build, which contains CUDA: several gigabytes", ())
    if environ.get("FACEMEND_TORCH") == "gpu":
        return [gpu]
    index = environ.get("FACEMEND_TORCH_INDEX") or CPU_INDEX
    return [
        Source("a wheel on this machine", ("--no-deps", "--no-index")),
        Source("the CPU build, about 190 MB to download", ("--no-deps", "--index-url", index)),
        gpu,
    ]


def install(installer: Installer, python: Path, environ: Mapping[str, str]) -> None:
    """Install torch from the first source that has it. Raises InstallFailed."""
    print(f"installing {TORCH}, the largest part (about 700 MB on disk)", flush=True)
    choices = sources(environ)
    for source in choices:
        print(f"  trying {source.name}", flush=True)
        try:
            installer.install(python, *source.options, TORCH, patient=source is choices[-1])
        except InstallFailed:
            if source is choices[-1]:
                raise
        else:
            return


if __name__ == "__main__":
    try:
        with tempfile.TemporaryDirectory() as cache:
            install(Installer(Path(cache)), Path(sys.argv[1]), os.environ)
    except InstallFailed as error:
        sys.exit(str(error))
