"""Which job killed the child?"""

from __future__ import annotations

import signal

from worker.engine_process.crash_report import Hand, in_words, suspects

_STACK = """Fatal Python error: Segmentation fault

Thread 0x00007f0000000001 (most recent call first):
  File "batching.py", line 1 in _work

Current thread 0x00007f0000000002 (most recent call first):
  File "restorer.py", line 1 in restore
"""
_HANDS = (Hand("job_1", thread=0x7F0000000001), Hand("job_2", thread=0x7F0000000002), Hand("job_3"))


def test_the_one_in_whose_thread_it_happened() -> None:
    assert suspects(_HANDS, _STACK, None) == ("job_2",)


def test_in_a_thread_of_nobody_it_may_have_been_anybody() -> None:
    of_the_batcher = _STACK.replace("0002 (", "0009 (")
    assert suspects(_HANDS, of_the_batcher, None) == ("job_1", "job_2", "job_3")


def test_without_last_words_it_may_have_been_anybody() -> None:
    assert suspects(_HANDS, "", None) == ("job_1", "job_2", "job_3")


def test_who_had_just_spoken_has_not_stalled() -> None:
    hands = [Hand("job_1", silent_s=60.25), Hand("job_2", silent_s=3), Hand("job_3", silent_s=59)]
    assert suspects(hands, "", 60) == ("job_1", "job_3")


def test_an_end_is_named() -> None:
    assert in_words(-signal.SIGSEGV) == "SIGSEGV"
    assert in_words(-64) == "SIGRTMAX"
    assert in_words(-63) == "signal 63"
    assert in_words(70) == "exit code 70"
