"""What becomes of the network's answer: touched up, judged, pasted; or why it was not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from shared.errors import OutOfMemory
from worker.engine.batching.batcher import Answer
from worker.engine.faces import skip_reasons as reasons
from worker.engine.faces.alignment import Aligned
from worker.engine.faces.detector import DetectedFace
from worker.engine.faces.identity import Guard
from worker.engine.faces.parsing import FaceParser
from worker.engine.faces.pasting import Paster, blend
from worker.engine.faces.retouching import calmed, with_colour_of
from worker.engine.faces.selection import is_sure
from worker.engine.restoration import FaceOptions, FaceRecord
from worker.imaging.decode import Pixels
from worker.imaging.geometry import Floats

_LEAST_MASK_PX = 16  # less of a crop is no face


@dataclass(frozen=True, slots=True)
class Finisher:
    """For one photo. Without a ``parser`` masks are drawn from landmarks."""

    paster: Paster
    options: FaceOptions
    guard: Guard | None = None
    parser: FaceParser | None = None

    def finish(
        self, record: FaceRecord, aligned: Aligned, answer: Answer | OutOfMemory
    ) -> FaceRecord:
        """Paste the answer; or say in the record why there is none."""
        if aligned.sharp:
            return replace(record, reason=reasons.ALREADY_SHARP)
        if answer is None:
            return replace(record, status="failed", reason=reasons.NOT_FINITE)
        if isinstance(answer, OutOfMemory):
            return replace(record, status="failed", reason=answer.code)
        mask = self._mask(aligned, answer)
        if mask.sum() < _LEAST_MASK_PX:
            return replace(record, status="failed", reason=reasons.NOT_PARSED)
        return self._paste(record, aligned, self._touched_up(aligned, answer, mask), mask)

    def _mask(self, aligned: Aligned, answer: Pixels) -> Floats:
        if self.parser is None or aligned.whole:
            return aligned.mask
        return self.parser.mask(answer)

    def _touched_up(self, aligned: Aligned, answer: Pixels, mask: Floats) -> Pixels:
        if self.options.post_filter:
            answer = calmed(answer)
        if self.options.keep_colour and not self.paster.only_colour:
            answer = with_colour_of(aligned.before, answer, mask)
        return answer

    def _paste(
        self, record: FaceRecord, aligned: Aligned, answer: Pixels, mask: Floats
    ) -> FaceRecord:
        before, strength = aligned.before, self.options.strength
        after = None
        if self.guard or self.options.crops:
            after = blend(before, answer, strength, only_colour=self.paster.only_colour)
        if self.guard and after is not None:
            alike, enough = self.guard.judge(before, after, aligned.landmarks)
            record = replace(record, identity_similarity=alike)
            if not enough:
                return replace(record, reason=reasons.IDENTITY_TOO_LOW)
        self.paster.paste(
            before, answer, mask, aligned.affine, strength=strength, small=aligned.small
        )
        record = replace(record, status="restored", reason=None)
        if not self.options.crops:
            return record
        return replace(record, crop_before=before, crop_after=after)


def open_record(index: int, face: DetectedFace, reason: str | None) -> FaceRecord:
    """The record of a face before anything is done; ``reason``: nothing will be."""
    landmarks = tuple((float(x), float(y)) for x, y in face.landmarks)
    return FaceRecord(index, face.box, landmarks, face.score, "skipped", reason)


def require_some(records: Sequence[FaceRecord]) -> None:
    """Raise OutOfMemory when that is why nothing at all was restored."""
    said = [record.reason for record in records]
    if reasons.OUT_OF_MEMORY in said and None not in said:
        raise OutOfMemory


def warnings(
    found: Sequence[DetectedFace], records: Sequence[FaceRecord], options: FaceOptions
) -> list[str]:
    """What the customer may not expect, in words."""
    sure = sum(is_sure(face, options) for face in found)
    if not sure:
        done = "unchanged" if options.background == "keep" else "enlarged, nothing else"
        return [f"No face was found: the picture is {done}.", *_of_unsure(len(found))]
    return [*_of_sharp(records), *_of_unknown(len(found), options)]


def _of_unsure(count: int) -> list[str]:
    said = "What may be a face scores below detection_threshold: see faces."
    return [said] if count else []


def _of_sharp(records: Sequence[FaceRecord]) -> list[str]:
    sharp = [str(one.index) for one in records if one.reason == reasons.ALREADY_SHARP]
    if not sharp:
        return []
    return [f"Sharp already and left as it is (see skip_sharp): face {', '.join(sharp)}."]


def _of_unknown(count: int, options: FaceOptions) -> list[str]:
    if isinstance(options.faces, str):
        return []
    unknown = sorted(set(options.faces) - set(range(count)))
    numbers = ", ".join(map(str, unknown))
    return [f"There is no face {numbers}: {count} were found, from 0."] if unknown else []
