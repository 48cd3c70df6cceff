"""The likeness of a face goes from the engine's record into the job's result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from shared.jobs import Job
from shared.storage import ObjectStorage
from tests.worker.conftest import ScriptedRestorer
from worker.engine import FaceOptions, Photo
from worker.publication import Publication


@pytest.mark.parametrize(("measured", "told"), [(0.123456, 0.1235), (0.0, 0.0), (None, None)])
def test_the_likeness_is_told_as_measured(
    storage: ObjectStorage, submit: Callable[..., Job], measured: float | None, told: float | None
) -> None:
    restorer = ScriptedRestorer()
    photo = Photo.of_pixels(np.zeros((48, 64, 3), np.uint8))
    done = restorer.restore(photo, FaceOptions())
    face = replace(done.faces[0], identity_similarity=measured)
    publication = Publication(storage, submit(), "token")
    (stored,) = publication.publish(photo, replace(done, faces=(face,)), restorer.info)["faces"]
    assert stored["identity_similarity"] == told
