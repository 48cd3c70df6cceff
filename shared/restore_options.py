"""The options of a restoration, declared once: name, type, range, default and help.

The HTTP schema (`shared.contract.restorations.Options`), the flags of ``facemend restore``
(`worker.commands.restore.option_flags`) and the engine's options (`worker.engine.FaceOptions`) are
made from this declaration; a test compares it with the table in docs/http-api.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, StringConstraints
from pydantic_core import CoreSchema


class _JsonArray:
    """Validates a tuple as the array that JSON has in its place."""

    def __get_pydantic_core_schema__(self, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        index = Annotated[int, Field(ge=0, le=999)]
        return handler.generate_schema(Annotated[list[index], Field(min_length=1, max_length=100)])


FaceIndexes = Annotated[tuple[int, ...], _JsonArray()]


class FacesOfDetection(BaseModel):
    """Faces that an earlier detection found in the same photo; ``indexes`` are those it gave."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    detection_id: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    indexes: FaceIndexes


FaceChoice = Literal["all", "largest", "center"] | FaceIndexes | FacesOfDetection
Fraction = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreOptions:
    """How to restore one photo. Pixels are those of the upright photo that came in."""

    faces: Annotated[
        FaceChoice,
        Field(
            description="Which faces to restore: all, largest, center, indexes from an earlier "
            "result, counted from left to right, or the faces that a detection found."
        ),
    ] = "all"
    aligned: Annotated[
        bool, Field(description="The whole photo is one aligned face crop; no face is searched.")
    ] = False
    min_face_px: Annotated[
        int,
        Field(
            ge=8, le=4096, description="Skip faces whose box has a shorter side below this size."
        ),
    ] = 16
    max_faces: Annotated[
        int,
        Field(ge=1, le=500, description="Restore this many faces at most; the largest go first."),
    ] = 100
    detection_threshold: Annotated[
        float,
        Field(ge=0.05, le=1, description="Restore faces whose detection score is above this."),
    ] = 0.9
    strength: Annotated[
        Fraction,
        Field(description="Share of the restored face: 0 keeps the old face, 1 replaces it."),
    ] = 1.0
    min_identity: Annotated[
        Fraction | None,
        Field(
            description="Measure how similar each face is before and after (1: the same; two "
            "persons differ at 0.5), and keep the old face below this value. 0 only measures; "
            "without a value, nothing is measured."
        ),
    ] = None
    noise_scale: Annotated[
        float,
        Field(
            ge=0,
            le=2,
            description="Scale of the network's inputs beside each convolution. Below 1, the "
            "network follows the photo less and its knowledge of faces more.",
        ),
    ] = 1.0
    truncation: Annotated[
        Fraction,
        Field(description="Below 1, the face moves towards the network's mean face."),
    ] = 1.0
    skip_sharp: Annotated[
        bool, Field(description="Leave faces as they are if they are already sharp.")
    ] = True
    keep_colour: Annotated[
        bool, Field(description="Give restored faces the colours and the contrast they had before.")
    ] = False
    post_filter: Annotated[
        bool, Field(description="Smooth restored faces between their edges (bilateral filter).")
    ] = False
    resampling: Annotated[
        Literal["nearest", "linear", "cubic", "area"],
        Field(description="Interpolation from the photo to the crop that the network receives."),
    ] = "area"
    seed: Annotated[
        int,
        Field(ge=0, le=2**31 - 1, description="Seed of the noise of super-resolving models."),
    ] = 0
    background: Annotated[
        Literal["keep", "x2", "x4"],
        Field(
            description="Keep the rest of the photo as it is, or enlarge the whole photo two or "
            "four times with a second network and put the restored faces into that."
        ),
    ] = "keep"
    strict: Annotated[
        bool,
        Field(
            description="Fail if there is no face, or if a restored face falls below min_identity."
        ),
    ] = False
