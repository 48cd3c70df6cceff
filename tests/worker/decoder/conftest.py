"""Real fork servers, one of each kind for the tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from worker.decoder import Decoder
from worker.imaging.limits import Limits


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(Limits()) as decoder:
        yield decoder


@pytest.fixture(scope="module")
def attacked() -> Iterator[Decoder]:
    """A decoder that every photo can take over: see ``attacks``."""
    with Decoder(Limits(), decode="tests.worker.decoder.attacks:read") as decoder:
        yield decoder
