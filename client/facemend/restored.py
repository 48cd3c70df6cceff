"""What a restoration returned."""

from __future__ import annotations

from dataclasses import dataclass

from facemend.models import Face, Restoration, Result, StoredImage


@dataclass(frozen=True, slots=True)
class RestoredPhoto:
    """The job and its result."""

    job: Restoration

    @property
    def result(self) -> Result:
        if self.job.result is None:
            raise ValueError(f"{self.job.id} is {self.job.status} and has no result")
        return self.job.result

    @property
    def faces(self) -> list[Face]:
        """The faces from left to right, each with what was done and why not."""
        return self.result.faces

    @property
    def image(self) -> StoredImage:
        return self.result.image

    @property
    def warnings(self) -> list[str]:
        """Sentences about things that you may not expect."""
        return self.job.warnings
