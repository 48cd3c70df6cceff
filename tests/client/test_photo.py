from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from facemend.photo import opened, size_bytes


def test_a_file_is_read_from_its_beginning_and_stays_open() -> None:
    file = io.BytesIO(b"photo")
    file.read()
    for _ in range(2):
        with opened(file) as source:
            assert source.read() == b"photo"
    assert not file.closed


def test_a_path_may_have_any_name(tmp_path: Path) -> None:
    path = tmp_path / "\udcff ü.jpg"
    path.write_bytes(b"photo")
    with opened(path) as source:
        assert source.read() == b"photo"
    assert size_bytes(str(path)) == size_bytes(b"photo") == 5


def test_a_file_that_cannot_be_read_again_is_refused() -> None:
    read, write = os.pipe()
    os.close(write)
    with (
        os.fdopen(read, "rb") as pipe,
        pytest.raises(TypeError, match="second time"),
        opened(pipe),
    ):
        pass
