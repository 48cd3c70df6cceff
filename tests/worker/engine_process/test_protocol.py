"""Messages, files and errors between the worker and its engine child."""

from __future__ import annotations

import os

import pytest

from shared.errors import Internal, NoFaceFound
from worker.engine_process import protocol as wire
from worker.engine_process.result import Finished, Writer


def test_messages_stay_whole_and_files_travel_along() -> None:
    one, other = wire.pair()
    with one, other:
        reading, writing = os.pipe()
        wire.send(one, {"first": 1}, [writing])
        wire.send(one, {"second": 2})
        os.close(writing)
        message, files = wire.receive(other)
        assert message == {"first": 1}
        os.write(files[0], b"here")
        wire.close(files)
        assert os.read(reading, 10) == b"here"
        assert os.read(reading, 10) == b"", "our copy was the last one"
        os.close(reading)
        assert wire.receive(other) == ({"second": 2}, [])


def test_the_other_side_gone_is_the_end() -> None:
    one, other = wire.pair()
    with other:
        assert not wire.is_over(other)
        one.close()
        assert wire.is_over(other)
        assert wire.receive(other) == (None, [])


def test_an_error_is_heard_as_it_was_told() -> None:
    heard = wire.heard(wire.told(NoFaceFound("not one")))
    assert isinstance(heard, NoFaceFound)
    assert heard.detail == "not one"
    assert isinstance(wire.heard({"kind": "Mystery", "detail": ""}), Internal)


def test_pictures_and_facts_are_read_as_they_were_written() -> None:
    writer = Writer()
    writer.add("a", b"first", "png", 3, 2)
    writer.add("b", b"second one", "jpeg", 30, 20)
    writer.close({"faces": [], "warnings": ["ä"]})
    with Finished(writer.fd) as finished:
        read = {name: finished.read(picture) for name, picture in finished.pictures.items()}
        assert read == {"a": b"first", "b": b"second one"}
        assert (finished.pictures["b"].width, finished.pictures["b"].height) == (30, 20)
        assert finished.facts == {"faces": [], "warnings": ["ä"]}


def test_half_a_memory_file_is_not_taken_for_a_result() -> None:
    writer = Writer()
    writer.add("a", b"first", "png", 3, 2)
    with pytest.raises((ValueError, OSError)):
        Finished(writer.fd)
    os.close(writer.fd)
