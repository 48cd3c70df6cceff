"""Messages, files and errors between the worker and its engine process."""

from __future__ import annotations

import os

import pytest

from shared.errors import Internal, NoFaceFound
from worker.engine_process import protocol
from worker.engine_process.result_file import ResultFile, ResultFileWriter


def test_messages_arrive_whole_with_their_files() -> None:
    one, other = protocol.socket_pair()
    with one, other:
        reading, writing = os.pipe()
        protocol.send(one, {"first": 1}, [writing])
        protocol.send(one, {"second": 2})
        os.close(writing)
        message, files = protocol.receive(other)
        assert message == {"first": 1}
        os.write(files[0], b"here")
        protocol.close_files(files)
        assert os.read(reading, 10) == b"here"
        assert os.read(reading, 10) == b"", "our copy was the last one"
        os.close(reading)
        assert protocol.receive(other) == ({"second": 2}, [])


def test_the_death_of_the_other_side_ends_the_stream() -> None:
    one, other = protocol.socket_pair()
    with other:
        assert not protocol.is_over(other)
        one.close()
        assert protocol.is_over(other)
        assert protocol.receive(other) == (None, [])


def test_an_error_is_decoded_as_it_was_encoded() -> None:
    decoded = protocol.decode_error(protocol.encode_error(NoFaceFound("not one")))
    assert isinstance(decoded, NoFaceFound)
    assert decoded.detail == "not one"
    assert isinstance(protocol.decode_error({"kind": "Mystery", "detail": ""}), Internal)


def test_pictures_and_metadata_are_read_as_they_were_written() -> None:
    writer = ResultFileWriter()
    writer.add("a", b"first", "png", 3, 2)
    writer.add("b", b"second one", "jpeg", 30, 20)
    writer.close({"faces": [], "warnings": ["ä"]})
    with ResultFile(writer.fd) as result:
        read = {name: result.read(picture) for name, picture in result.pictures.items()}
        assert read == {"a": b"first", "b": b"second one"}
        assert (result.pictures["b"].width, result.pictures["b"].height) == (30, 20)
        assert result.metadata == {"faces": [], "warnings": ["ä"]}


def test_an_incomplete_result_file_is_refused() -> None:
    writer = ResultFileWriter()
    writer.add("a", b"first", "png", 3, 2)
    with pytest.raises((ValueError, OSError)):
        ResultFile(writer.fd)
    os.close(writer.fd)
