"""Real nurseries, one of each kind for all tests."""

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
def prey() -> Iterator[Decoder]:
    """A decoder that every photo can take over: see ``deeds``."""
    with Decoder(Limits(), read="tests.worker.decoder.attacks:read") as decoder:
        yield decoder
