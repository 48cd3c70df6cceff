from __future__ import annotations

import pytest

from facemend.event_stream import EventParser, Message

STREAM = "retry: 1500\n\nid: 3\nevent: status\ndata: {}\n\n: heartbeat\n\ndata: a\ndata: b\n\n"
MESSAGES = [Message("3", "status", "{}"), Message("3", "message", "a\nb")]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_messages_come_out_whatever_the_pieces(size: int, newline: str) -> None:
    parser, text = EventParser(), STREAM.replace("\n", newline)
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    assert [message for piece in pieces for message in parser.feed(piece)] == MESSAGES
    assert parser.retry_s == 1.5
    assert parser.last_id == "3"


def test_an_unfinished_message_is_not_given_out() -> None:
    parser = EventParser("9")
    assert list(parser.feed("id: 10\ndata: {}\n")) == []


def test_a_retry_that_is_no_number_is_ignored() -> None:
    parser = EventParser()
    assert list(parser.feed("retry: soon\n\n")) == []
    assert parser.retry_s == 2.0
