"""A decoder that was taken over can do no harm, and the next photo is not affected."""

from __future__ import annotations

import errno
import os
import resource
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from shared.errors import FacemendError, Internal
from shared.process_control import fork, wait_for_exit
from tests.worker.engine.photos import file_of, gradient
from worker.decoder import DecodeBounds, Decoder, photo_of, sandbox
from worker.imaging.limits import Limits

SLOT_BACK_S = 6.0  # the bound of the fault matrix for files that hang or kill the decoder


def outcome(decoder: Decoder, attack: str) -> str:
    """Run the attack; return the error that it ended with."""
    with pytest.raises(FacemendError) as caught:
        decoder.decode(attack.encode())
    return f"{type(caught.value).__name__}: {caught.value.detail}"


def decodes(decoder: Decoder) -> bool:
    with decoder.decode(file_of(gradient(), "png")) as decoded:
        return np.array_equal(photo_of(decoded).pixels, gradient())


@pytest.fixture
def secret() -> Iterator[Path]:
    """A file that every user may read and write, in a folder open to every user."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "secret"
        path.write_text("the pepper")
        path.chmod(0o666)
        path.parent.chmod(0o777)
        yield path


@pytest.mark.parametrize(
    "attack",
    ["socket", "thread", "fork", "run:/bin/true", "execute:/bin/true", "kill:", "raise-limit"],
)
def test_forbidden_system_calls_fail(attacked: Decoder, attack: str) -> None:
    assert "done" not in outcome(attacked, attack)
    assert decodes(attacked)


@pytest.mark.parametrize("attack", ["open", "write"])
def test_no_file_can_be_opened(attacked: Decoder, secret: Path, attack: str) -> None:
    assert "Error" in outcome(attacked, f"{attack}:{secret}")
    assert secret.read_text() == "the pepper"


def test_no_folder_can_be_listed(attacked: Decoder, secret: Path) -> None:
    assert "Error" in outcome(attacked, f"list:{secret.parent}")


def test_the_environment_contains_no_variable_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEMEND_REDIS_URL", "redis://:secret@127.0.0.1:1/0")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with Decoder(Limits(), decode="tests.worker.decoder.attacks:read") as decoder:
        said = outcome(decoder, "environment")
    names = set(said.partition("done: ")[2].split(","))
    assert names == {"LC_ALL", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"}


def test_four_gigabytes_cannot_be_allocated(attacked: Decoder) -> None:
    assert "done" not in outcome(attacked, "allocate:4")


def test_a_photo_that_hangs_is_ended_and_frees_its_slot(attacked: Decoder) -> None:
    start_s = time.monotonic()
    assert outcome(attacked, "hang").startswith("CorruptImage")
    assert time.monotonic() - start_s <= SLOT_BACK_S
    assert decodes(attacked)


def test_a_photo_that_computes_without_end_is_ended() -> None:
    bounds = DecodeBounds(cpu_s=1, wall_s=30)
    with Decoder(Limits(), bounds=bounds, decode="tests.worker.decoder.attacks:read") as decoder:
        assert outcome(decoder, "loop") == "CorruptImage: decoding the photo takes more than 1 s"
        assert decodes(decoder)


@pytest.mark.parametrize("attack", ["crash", "abort"])
def test_a_photo_that_crashes_its_decoder_is_corrupt(attacked: Decoder, attack: str) -> None:
    assert outcome(attacked, attack).startswith("CorruptImage")
    assert decodes(attacked)


def test_every_photo_has_its_own_process(attacked: Decoder) -> None:
    pids = {outcome(attacked, "identity") for _ in range(3)}
    assert len(pids) == 3


def test_the_photo_cannot_be_changed_and_the_result_cannot_fill_the_memory(
    attacked: Decoder,
) -> None:
    assert outcome(attacked, "forge") == "UnsupportedImage: done: ['EPERM', 'done']"
    assert outcome(attacked, "fill") == "UnsupportedImage: done: ['EFBIG', 'EFBIG']"


@pytest.mark.parametrize(
    "words",
    [
        "",
        "no JSON",
        "[" * 60_000,
        "17",
        "{}",
        '{"photo": 1}',
        '{"error": {"kind": "SystemExit", "detail": ""}}',
        '{"error": {"kind": "CorruptImage", "detail": 1}}',
    ],
)
def test_a_result_file_with_nonsense_is_refused(attacked: Decoder, words: str) -> None:
    assert outcome(attacked, f"lie:{words}").startswith(
        "CorruptImage: the decoder wrote a result that cannot be read"
    )


def test_control_characters_are_removed_from_error_details(attacked: Decoder) -> None:
    lie = '{"error": {"kind": "UnsupportedImage", "detail": "one\\nERROR two\\u001b[2J%s"}}'
    words = outcome(attacked, "lie:" + lie % ("x" * 999)).removeprefix("UnsupportedImage: ")
    assert words == ("one ERROR two [2J" + "x" * 999)[:300]


def test_a_bug_is_described_in_the_log_only(
    attacked: Decoder, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Internal) as caught:
        attacked.decode(b"bug")
    assert caught.value.detail == Internal.title
    assert "KeyError in " in caplog.text
    assert "_bug:" in caplog.text
    assert "a secret of the photo" not in caplog.text


# Other tests may leave threads behind; the forks here call none of their code.
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("attack", "refusal"),
    [
        (lambda: os.open("/dev/null", os.O_RDONLY), errno.EMFILE),
        (socket.socket, errno.EMFILE),
        (os.fork, errno.EAGAIN),
        (lambda: bytearray(2 << 30), errno.ENOMEM),
        (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100)), errno.EPERM),
    ],
    ids=["open", "socket", "fork", "memory", "setrlimit"],
)
def test_without_a_system_call_filter_the_limits_hold(
    attack: Callable[[], object], refusal: int
) -> None:
    parent = os.getpid()

    def run() -> int:
        sandbox.close_all_but()
        sandbox.confine(parent, DecodeBounds(), 1 << 20, syscall_filter=None)
        try:
            attack()
        except OSError as error:
            return error.errno or 255
        except ValueError:  # raised by Python's setrlimit
            return errno.EPERM
        except MemoryError:
            return errno.ENOMEM
        return 0

    assert wait_for_exit(fork(run)) == refusal
