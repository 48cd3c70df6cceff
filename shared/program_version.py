"""The version of this program."""

from __future__ import annotations


def program_version() -> str:
    """Return the version of the installed package, or ``unknown`` in a checkout without one."""
    import importlib.metadata  # noqa: PLC0415 - most commands need no version

    try:
        return importlib.metadata.version("facemend")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
