"""The start of an engine process: what it inherits from the worker, and how it prepares itself."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from typing import Any

from pydantic import SecretStr

from shared.process_control import be_first_to_be_killed_for_memory, die_with_parent, import_path
from shared.settings import Settings

#: The environment variables that the engine process may see. None of ours, so no secret.
_NAMES = frozenset(
    {"HOME", "LANG", "LD_LIBRARY_PATH", "LD_PRELOAD", "PATH", "TMPDIR", "TZ", "USER"}
)
_PREFIXES = (
    *("CUDA", "HIP_", "KMP_", "LC_", "MALLOC_", "MKL_", "NVIDIA_", "OMP_", "OPENBLAS_"),
    *("PYTHON", "PYTORCH_", "ROCR_", "TORCH", "XDG_CACHE"),
)


def spawn(control: int, crash_output: int) -> subprocess.Popen[bytes]:
    """Start an engine process that inherits these two descriptors.

    It dies with the thread that calls this. Raises OSError.
    """
    numbers = (os.getpid(), control, crash_output)
    return subprocess.Popen(  # noqa: S603  # our own program
        [sys.executable, "-P", "-m", "worker.engine_process", *map(str, numbers)],
        env=_environment(),
        pass_fds=(control, crash_output),
        stdin=subprocess.DEVNULL,
    )


def settings_without_secrets(settings: Settings) -> dict[str, Any]:
    """Return the settings as JSON without secrets, for which the process has defaults."""
    names = type(settings).model_fields
    secret = {name for name in names if isinstance(getattr(settings, name), SecretStr)}
    return settings.model_dump(mode="json", exclude=secret)


def prepare_spawned_process(worker_pid: int) -> None:
    """Tie this process to the worker; called first in the engine process.

    It dies with the worker, leaves no core dump, and is ended first when memory is short. It
    ignores SIGINT and SIGTERM, because only the worker decides when it ends.
    """
    try:
        die_with_parent(worker_pid)
    except ProcessLookupError:
        sys.exit("the worker is gone already")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    be_first_to_be_killed_for_memory()


def _environment() -> dict[str, str]:
    """Return the allowed variables, and the folders in which Python finds our code."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _NAMES or name.startswith(_PREFIXES)
    }
    return kept | {"PYTHONPATH": os.pathsep.join(path for path in import_path() if path)}
