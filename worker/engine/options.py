"""The engine's options for one photo: those of a request, and what the caller adds."""

from __future__ import annotations

from dataclasses import dataclass

from shared.restore_options import RestoreOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceOptions(RestoreOptions):
    """How to restore one photo; `RestoreOptions` explains every option of a request.

    ``crops``: return the crops too; those of a crowd take hundreds of megabytes.
    """

    crops: bool = True

    @property
    def background_scale(self) -> int:
        """How many times larger than the photo the result is: 1, 2 or 4."""
        return {"keep": 1, "x2": 2, "x4": 4}[self.background]
