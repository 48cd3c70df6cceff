"""How one photo of a watched folder is restored, and by a service; ``by_engine`` has the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from facemend.client import Client
from facemend.errors import ClientError, Forbidden, InvalidRequest, Unauthorized
from facemend.folder.run import Errand, PhotosByService
from shared.errors import SettingsInvalid


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of one photo.

    ``bad``: the photo cannot be restored. ``later``: something else is wrong, which may pass.
    ``reason`` says why. ``everywhere``: it would meet every photo (the disk is full, the service
    is away).
    """

    status: Literal["done", "bad", "later"]
    reason: str = ""
    result: Path | None = None
    everywhere: bool = False


class OnePhoto(Protocol):
    """Restores one photo and writes its line in the record. Raises SettingsInvalid."""

    def __call__(self, errand: Errand) -> Attempt: ...


@dataclass
class ByService:
    """A service, by its client."""

    client: Client
    photos: PhotosByService

    def __call__(self, errand: Errand) -> Attempt:
        try:
            outcome = self.client.run(self.photos.one(errand))
        except (Unauthorized, Forbidden, InvalidRequest) as error:
            raise SettingsInvalid(str(error)) from None
        except ClientError as error:
            return Attempt("later", str(error), everywhere=True)
        except OSError as error:  # the disk of the results is full or read-only
            reason = f"{errand.target.parent}: {error.strerror or error}"
            return Attempt("later", reason, everywhere=True)
        if outcome.status != "failed":
            return Attempt("done", result=outcome.result)
        problem = outcome.job.error if outcome.job else None
        if outcome.code is None or (problem and problem.retryable):
            return Attempt("later", outcome.reason or "")
        return Attempt("bad", outcome.reason or "")
