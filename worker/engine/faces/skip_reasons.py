"""The reasons why a face was not restored; docs/http-api.md explains each."""

from __future__ import annotations

from typing import Final

from shared.errors import IdentityTooLow, OutOfMemory

#: Skipped: the picture shows the face as it was.
LOW_SCORE: Final = "low-score"
NOT_CHOSEN: Final = "not-chosen"
TOO_SMALL: Final = "too-small"
OVER_CAP: Final = "over-cap"
ALREADY_SHARP: Final = "already-sharp"
#: ``strength`` is 0: the restored face would not be visible.
STRENGTH_ZERO: Final = "strength-zero"
IDENTITY_TOO_LOW: Final = IdentityTooLow.code
SKIPPED: Final = frozenset(
    {LOW_SCORE, NOT_CHOSEN, TOO_SMALL, OVER_CAP, ALREADY_SHARP, STRENGTH_ZERO, IDENTITY_TOO_LOW}
)

#: Failed: the same, but the face should have been restored.
OUT_OF_MEMORY: Final = OutOfMemory.code
#: The network's output was not finite: half precision overflowed.
NOT_FINITE: Final = "not-finite"
#: The mask was empty: the parser found no face in the output, or all landmarks coincide.
NOT_PARSED: Final = "not-parsed"
FAILED: Final = frozenset({OUT_OF_MEMORY, NOT_FINITE, NOT_PARSED})
