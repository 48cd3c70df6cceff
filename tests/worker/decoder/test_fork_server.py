"""The nursery and its children: confined, ended, replaced; never in the next photo's way."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from shared.errors import CorruptImage, FacemendError, Internal, Unavailable
from tests.waiting import eventually
from tests.worker.engine.photos import file_of, gradient
from worker.decoder import Bounds, Decoder
from worker.decoder.fork_server import Ending
from worker.decoder.fork_server_process import _Child
from worker.imaging.limits import Limits

PHOTO = file_of(gradient(), "png")
DEEDS = "tests.worker.decoder.attacks:read"


def test_a_nursery_that_is_killed_is_replaced(decoder: Decoder) -> None:
    before = decoder.pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    os.waitid(os.P_PID, before, os.WEXITED | os.WNOWAIT)
    with decoder.decode(PHOTO):
        pass
    assert decoder.pid not in {None, before}


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def hold(decoder: Decoder) -> tuple[threading.Thread, list[FacemendError], int]:
    """Start a photo that never ends; answers its thread, what is raised there, and its process."""
    raised: list[FacemendError] = []

    def read() -> None:
        try:
            decoder.decode(b"hang")
        except FacemendError as error:
            raised.append(error)

    decoder.start()
    assert decoder.pid is not None
    thread = threading.Thread(target=read)
    thread.start()
    eventually(lambda: children_of(decoder.pid or 0))
    return thread, raised, children_of(decoder.pid)[0]


def table(path: str, separator: str) -> dict[str, str]:
    lines = Path(path).read_text().splitlines()
    return {
        name.strip(): value.strip() for name, _, value in (x.partition(separator) for x in lines)
    }


def test_what_the_kernel_says_of_a_child() -> None:
    with Decoder(Limits(), read=DEEDS) as decoder:
        thread, _, child = hold(decoder)
        eventually(lambda: table(f"/proc/{child}/status", ":")["Seccomp"] == "2")
        status = table(f"/proc/{child}/status", ":")
        limits = table(f"/proc/{child}/limits", "  ")
        owner = Path(f"/proc/{child}/environ").stat().st_uid
        os.kill(child, signal.SIGKILL)
        thread.join()
    assert (status["NoNewPrivs"], int(status["CapEff"], 16), status["Threads"]) == ("1", 0, "1")
    assert "0" not in status["Uid"].split()
    assert owner == 0, "nobody of the same user may look into it"
    for name in ("Max open files", "Max processes", "Max core file size"):
        assert limits[name].split()[:2] == ["0", "0"]
    assert limits["Max cpu time"].split()[:2] == ["5", "6"]


def test_a_photo_whose_nursery_dies_may_go_well_later() -> None:
    with Decoder(Limits(), read=DEEDS) as decoder:
        thread, raised, child = hold(decoder)
        os.kill(decoder.pid or 0, signal.SIGKILL)
        thread.join()
        assert isinstance(raised[0], Unavailable)
        eventually(lambda: not Path(f"/proc/{child}").exists())


def test_a_child_that_somebody_else_kills_says_nothing_against_its_photo() -> None:
    with Decoder(Limits(), read=DEEDS) as decoder:
        thread, raised, child = hold(decoder)
        os.kill(child, signal.SIGKILL)
        thread.join()
        assert isinstance(raised[0], Unavailable)


def test_a_nursery_that_hangs_is_replaced() -> None:
    bounds = Bounds(wall_s=0.5)
    with Decoder(Limits(), bounds=bounds, read=DEEDS) as decoder:
        before = decoder.pid or 0
        os.kill(before, signal.SIGSTOP)
        with pytest.raises(Unavailable):
            decoder.decode(PHOTO)
        with decoder.decode(PHOTO):
            assert decoder.pid != before


def test_time_in_which_everything_stood_still_does_not_count() -> None:
    bounds = Bounds(wall_s=2)
    with Decoder(Limits(), bounds=bounds, at_once=2, read=DEEDS) as decoder:
        thread, raised, child = hold(decoder)
        for pid in (decoder.pid or 0, child):
            os.kill(pid, signal.SIGSTOP)
        time.sleep(2.5)
        for pid in (decoder.pid or 0, child):
            os.kill(pid, signal.SIGCONT)
        with decoder.decode(PHOTO):  # so the nursery has looked after its children
            assert Path(f"/proc/{child}").exists()
        thread.join()
    assert isinstance(raised[0], CorruptImage)  # hung when all went on, too


def test_a_decoder_that_cannot_start_says_why() -> None:
    with pytest.raises(Unavailable, match="does not start"):
        Decoder(Limits(), read="no.such.module:decode").start()


def test_a_sandbox_in_which_nothing_can_be_read_is_found_at_the_start() -> None:
    narrow = Bounds(memory_bytes=1 << 20)
    with pytest.raises(Unavailable, match="sandbox"):
        Decoder(Limits(), bounds=narrow).start()


def test_its_processes_go_when_it_is_closed() -> None:
    decoder = Decoder(Limits())
    decoder.start()
    pid = decoder.pid
    decoder.close()
    assert not Path(f"/proc/{pid}").exists()
    assert decoder.pid is None


def test_its_processes_go_when_their_owner_is_killed() -> None:
    script = (
        "import time\n"
        "from worker.decoder import Decoder\n"
        "from worker.imaging.limits import Limits\n"
        "decoder = Decoder(Limits()); decoder.start(); print(decoder.pid, flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        nursery = int(owner.stdout.readline())
        owner.kill()
    eventually(lambda: not Path(f"/proc/{nursery}").exists())


def test_what_ended_a_decoder_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with (
        Decoder(Limits(), read=DEEDS) as decoder,
        caplog.at_level(logging.WARNING),
        pytest.raises(FacemendError),
    ):
        decoder.decode(b"crash")
    assert "SIGSEGV" in caplog.text


def test_time_spent_waiting_for_a_processor_counts_only_against_the_patience() -> None:
    bounds = Bounds(wall_s=2)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = _Child(theirs)
        assert not child.has_had(1.9, 0.0, bounds)
        assert not child.has_had(3.0, 3.0, bounds)
        assert child.starved
        assert child.has_had(0.2, 3.0, bounds), "of its own time it had all"
        assert not child.starved
        child = _Child(theirs)
        assert not child.has_had(bounds.patience_s - 0.1, 7.0, bounds)
        assert child.has_had(0.1, 7.0, bounds), "nobody waits for ever"
        assert child.starved


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        (Ending(-signal.SIGKILL, 0.3, overdue=True, starved=True), Unavailable),
        (Ending(-signal.SIGKILL, 0.3, overdue=False, starved=False), Unavailable),
        (Ending(-signal.SIGKILL, 0.3, overdue=True, starved=False), CorruptImage),
        (Ending(-signal.SIGKILL, 5.9, overdue=False, starved=False), CorruptImage),
        (Ending(-signal.SIGXCPU, 4.2, overdue=False, starved=False), CorruptImage),
        (Ending(-signal.SIGSEGV, 0.3, overdue=False, starved=False), CorruptImage),
        (Ending(1, 0.3, overdue=False, starved=False), Internal),
    ],
)
def test_what_an_ending_means_for_the_photo(ending: Ending, kind: type[FacemendError]) -> None:
    with pytest.raises(kind):
        Decoder(Limits())._judge(ending)


def test_a_child_that_came_to_its_end_leaves_the_word_to_its_answer() -> None:
    Decoder(Limits())._judge(Ending(0, 9.9, overdue=True, starved=True))
