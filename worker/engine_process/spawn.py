"""How the engine child is started: with an environment of its own and settings without secrets."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from pydantic import SecretStr

from shared.settings import Settings

#: What of the environment the child may see: nothing of ours, so no secret.
_NAMES = frozenset(
    {"HOME", "LANG", "LD_LIBRARY_PATH", "LD_PRELOAD", "PATH", "TMPDIR", "TZ", "USER"}
)
_PREFIXES = (
    *("CUDA", "HIP_", "KMP_", "LC_", "MALLOC_", "MKL_", "NVIDIA_", "OMP_", "OPENBLAS_"),
    *("PYTHON", "PYTORCH_", "ROCR_", "TORCH", "XDG_CACHE"),
)


def spawn(control: int, last_words: int) -> subprocess.Popen[bytes]:
    """Start a child that inherits these two files. It dies with the thread that calls this."""
    numbers = (os.getpid(), control, last_words)
    return subprocess.Popen(  # noqa: S603  # our own program
        [sys.executable, "-P", "-m", "worker.engine_process", *map(str, numbers)],
        env=_environment(),
        pass_fds=(control, last_words),
        stdin=subprocess.DEVNULL,
    )


def without_secrets(settings: Settings) -> dict[str, Any]:
    """The settings as JSON; a secret is left out, so the child has its default."""
    names = type(settings).model_fields
    secret = {name for name in names if isinstance(getattr(settings, name), SecretStr)}
    return settings.model_dump(mode="json", exclude=secret)


def _environment() -> dict[str, str]:
    """What the child sees of ours, and where Python finds our code."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _NAMES or name.startswith(_PREFIXES)
    }
    return kept | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
