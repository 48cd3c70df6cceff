"""The fork server and its children: confined, ended, replaced; the next photo is never affected."""

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
from worker.decoder import DecodeBounds, Decoder
from worker.decoder.fork_server import _RunningChild
from worker.decoder.fork_server_client import ChildExit
from worker.imaging.limits import Limits

PHOTO = file_of(gradient(), "png")
ATTACKS = "tests.worker.decoder.attacks:read"


def test_a_killed_fork_server_is_replaced(decoder: Decoder) -> None:
    before = decoder.pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    os.waitid(os.P_PID, before, os.WEXITED | os.WNOWAIT)
    with decoder.decode(PHOTO):
        pass
    assert decoder.pid not in {None, before}


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def start_hanging(decoder: Decoder) -> tuple[threading.Thread, list[FacemendError], int]:
    """Start a photo that hangs; return its thread, the errors raised there, and its pid."""
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


def test_the_kernel_shows_how_a_child_is_confined() -> None:
    with Decoder(Limits(), decode=ATTACKS) as decoder:
        thread, _, child = start_hanging(decoder)
        eventually(lambda: table(f"/proc/{child}/status", ":")["Seccomp"] == "2")
        status = table(f"/proc/{child}/status", ":")
        limits = table(f"/proc/{child}/limits", "  ")
        owner = Path(f"/proc/{child}/environ").stat().st_uid
        os.kill(child, signal.SIGKILL)
        thread.join()
    assert (status["NoNewPrivs"], int(status["CapEff"], 16), status["Threads"]) == ("1", 0, "1")
    assert "0" not in status["Uid"].split()
    assert owner == 0, "no process of the same user may inspect it"
    for name in ("Max open files", "Max processes", "Max core file size"):
        assert limits[name].split()[:2] == ["0", "0"]
    assert limits["Max cpu time"].split()[:2] == ["5", "6"]


def test_a_photo_whose_fork_server_dies_may_be_retried() -> None:
    with Decoder(Limits(), decode=ATTACKS) as decoder:
        thread, raised, child = start_hanging(decoder)
        os.kill(decoder.pid or 0, signal.SIGKILL)
        thread.join()
        assert isinstance(raised[0], Unavailable)
        eventually(lambda: not Path(f"/proc/{child}").exists())


def test_a_child_killed_from_outside_is_not_the_fault_of_the_photo() -> None:
    with Decoder(Limits(), decode=ATTACKS) as decoder:
        thread, raised, child = start_hanging(decoder)
        os.kill(child, signal.SIGKILL)
        thread.join()
        assert isinstance(raised[0], Unavailable)


def test_a_fork_server_that_hangs_is_replaced() -> None:
    bounds = DecodeBounds(wall_s=0.5)
    with Decoder(Limits(), bounds=bounds, decode=ATTACKS) as decoder:
        before = decoder.pid or 0
        os.kill(before, signal.SIGSTOP)
        with pytest.raises(Unavailable):
            decoder.decode(PHOTO)
        with decoder.decode(PHOTO):
            assert decoder.pid != before


def test_time_in_which_all_processes_were_stopped_does_not_count() -> None:
    bounds = DecodeBounds(wall_s=2)
    with Decoder(Limits(), bounds=bounds, max_parallel=2, decode=ATTACKS) as decoder:
        thread, raised, child = start_hanging(decoder)
        for pid in (decoder.pid or 0, child):
            os.kill(pid, signal.SIGSTOP)
        time.sleep(2.5)
        for pid in (decoder.pid or 0, child):
            os.kill(pid, signal.SIGCONT)
        with decoder.decode(PHOTO):  # so the fork server has checked its children
            assert Path(f"/proc/{child}").exists()
        thread.join()
    assert isinstance(raised[0], CorruptImage)  # it still hung after all continued


def test_a_decoder_that_cannot_start_says_why() -> None:
    with pytest.raises(Unavailable, match="does not start"):
        Decoder(Limits(), decode="no.such.module:decode").start()


def test_a_sandbox_that_is_too_narrow_fails_the_self_test() -> None:
    narrow = DecodeBounds(memory_bytes=1 << 20)
    with pytest.raises(Unavailable, match="sandbox"):
        Decoder(Limits(), bounds=narrow).start()


def test_close_ends_all_processes() -> None:
    decoder = Decoder(Limits())
    decoder.start()
    pid = decoder.pid
    decoder.close()
    assert not Path(f"/proc/{pid}").exists()
    assert decoder.pid is None


def test_all_processes_die_with_a_parent_that_is_killed() -> None:
    script = (
        "import time\n"
        "from worker.decoder import Decoder\n"
        "from worker.imaging.limits import Limits\n"
        "decoder = Decoder(Limits()); decoder.start(); print(decoder.pid, flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        fork_server_pid = int(owner.stdout.readline())
        owner.kill()
    eventually(lambda: not Path(f"/proc/{fork_server_pid}").exists())


def test_the_signal_that_ended_a_child_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with (
        Decoder(Limits(), decode=ATTACKS) as decoder,
        caplog.at_level(logging.WARNING),
        pytest.raises(FacemendError),
    ):
        decoder.decode(b"crash")
    assert "SIGSEGV" in caplog.text


def test_waiting_for_a_processor_counts_only_against_max_wait_s() -> None:
    bounds = DecodeBounds(wall_s=2)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = _RunningChild(theirs)
        assert not child.has_used_its_time(1.9, 0.0, bounds)
        assert not child.has_used_its_time(3.0, 3.0, bounds)
        assert child.starved
        assert child.has_used_its_time(0.2, 3.0, bounds), "its own time is used up"
        assert not child.starved
        child = _RunningChild(theirs)
        assert not child.has_used_its_time(bounds.max_wait_s - 0.1, 7.0, bounds)
        assert child.has_used_its_time(0.1, 7.0, bounds), "max_wait_s is over"
        assert child.starved


@pytest.mark.parametrize(
    ("child_exit", "kind"),
    [
        (ChildExit(-signal.SIGKILL, 0.3, overdue=True, starved=True), Unavailable),
        (ChildExit(-signal.SIGKILL, 0.3, overdue=False, starved=False), Unavailable),
        (ChildExit(-signal.SIGKILL, 0.3, overdue=True, starved=False), CorruptImage),
        (ChildExit(-signal.SIGKILL, 5.9, overdue=False, starved=False), CorruptImage),
        (ChildExit(-signal.SIGXCPU, 4.2, overdue=False, starved=False), CorruptImage),
        (ChildExit(-signal.SIGSEGV, 0.3, overdue=False, starved=False), CorruptImage),
        (ChildExit(1, 0.3, overdue=False, starved=False), Internal),
    ],
)
def test_the_exit_of_a_child_decides_the_error(
    child_exit: ChildExit, kind: type[FacemendError]
) -> None:
    with pytest.raises(kind):
        Decoder(Limits())._raise_for(child_exit)


def test_a_child_that_exits_by_itself_raises_no_error_here() -> None:
    Decoder(Limits())._raise_for(ChildExit(0, 9.9, overdue=True, starved=True))
