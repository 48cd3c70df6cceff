"""Why a face was not restored: all that its record can say. docs/http-api.md explains it."""

from __future__ import annotations

from typing import Final

from shared.errors import IdentityTooLow, OutOfMemory

#: Skipped: the picture shows the face as it came.
LOW_SCORE: Final = "low-score"
NOT_CHOSEN: Final = "not-chosen"
TOO_SMALL: Final = "too-small"
OVER_CAP: Final = "over-cap"
ALREADY_SHARP: Final = "already-sharp"
IDENTITY_TOO_LOW: Final = IdentityTooLow.code
SKIPPED: Final = frozenset(
    {LOW_SCORE, NOT_CHOSEN, TOO_SMALL, OVER_CAP, ALREADY_SHARP, IDENTITY_TOO_LOW}
)

#: Failed: likewise, but it should have been restored.
OUT_OF_MEMORY: Final = OutOfMemory.code
#: The network's answer was no number: half precision overflowed.
NOT_FINITE: Final = "not-finite"
#: Nowhere to paste: the parser saw no face in the answer, or the landmarks lie on one spot.
NOT_PARSED: Final = "not-parsed"
FAILED: Final = frozenset({OUT_OF_MEMORY, NOT_FINITE, NOT_PARSED})
