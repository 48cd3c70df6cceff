"""A decoder that was taken over can harm nobody, and the next photo does not notice."""

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
from tests.worker.engine.photos import file_of, gradient
from worker.decoder import Bounds, Decoder, kernel, photo_of, sandbox
from worker.imaging.limits import Limits

SLOT_BACK_S = 6.0  # the bound of the fault matrix for files that hang or kill the decoder


def outcome(decoder: Decoder, deed: str) -> str:
    """What the deed came to, in the words of whoever tells."""
    with pytest.raises(FacemendError) as caught:
        decoder.decode(deed.encode())
    return f"{type(caught.value).__name__}: {caught.value.detail}"


def decodes(decoder: Decoder) -> bool:
    with decoder.decode(file_of(gradient(), "png")) as decoded:
        return np.array_equal(photo_of(decoded).pixels, gradient())


@pytest.fixture
def secret() -> Iterator[Path]:
    """A file that anybody may read and write, in a folder open to anybody."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "secret"
        path.write_text("the pepper")
        path.chmod(0o666)
        path.parent.chmod(0o777)
        yield path


@pytest.mark.parametrize(
    "deed", ["socket", "thread", "fork", "run:/bin/true", "execute:/bin/true", "kill:", "loosen"]
)
def test_what_the_kernel_is_asked_for_is_refused(prey: Decoder, deed: str) -> None:
    assert "done" not in outcome(prey, deed)
    assert decodes(prey)


@pytest.mark.parametrize("deed", ["open", "write"])
def test_no_file_can_be_opened(prey: Decoder, secret: Path, deed: str) -> None:
    assert "Error" in outcome(prey, f"{deed}:{secret}")
    assert secret.read_text() == "the pepper"


def test_no_folder_can_be_listed(prey: Decoder, secret: Path) -> None:
    assert "Error" in outcome(prey, f"list:{secret.parent}")


def test_the_environment_holds_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEMEND_REDIS_URL", "redis://:secret@127.0.0.1:1/0")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with Decoder(Limits(), read="tests.worker.decoder.attacks:read") as decoder:
        said = outcome(decoder, "environment")
    names = set(said.partition("done: ")[2].split(","))
    assert names == {"LC_ALL", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"}


def test_four_gigabytes_cannot_be_had(prey: Decoder) -> None:
    assert "done" not in outcome(prey, "allocate:4")


def test_what_hangs_is_ended_and_its_slot_is_free_again(prey: Decoder) -> None:
    start_s = time.monotonic()
    assert outcome(prey, "hang").startswith("CorruptImage")
    assert time.monotonic() - start_s <= SLOT_BACK_S
    assert decodes(prey)


def test_what_computes_without_end_is_ended() -> None:
    bounds = Bounds(cpu_s=1, wall_s=30)
    with Decoder(Limits(), bounds=bounds, read="tests.worker.decoder.attacks:read") as decoder:
        assert outcome(decoder, "loop") == "CorruptImage: the photo cannot be decoded in time"
        assert decodes(decoder)


@pytest.mark.parametrize("deed", ["crash", "abort"])
def test_a_photo_that_kills_its_decoder_is_corrupt(prey: Decoder, deed: str) -> None:
    assert outcome(prey, deed).startswith("CorruptImage")
    assert decodes(prey)


def test_every_photo_has_a_process_of_its_own(prey: Decoder) -> None:
    pids = {outcome(prey, "identity") for _ in range(3)}
    assert len(pids) == 3


def test_of_two_open_files_the_photo_cannot_be_changed_and_the_answer_not_fill_the_memory(
    prey: Decoder,
) -> None:
    assert outcome(prey, "forge") == "UnsupportedImage: done: ['EPERM', 'done']"
    assert outcome(prey, "fill") == "UnsupportedImage: done: ['EFBIG', 'EFBIG']"


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
def test_a_decoder_that_says_nonsense_is_not_believed(prey: Decoder, words: str) -> None:
    assert outcome(prey, f"lie:{words}").startswith("CorruptImage: the decoder handed on nothing")


def test_words_are_made_harmless(prey: Decoder) -> None:
    lie = '{"error": {"kind": "UnsupportedImage", "detail": "one\\nERROR two\\u001b[2J%s"}}'
    words = outcome(prey, "lie:" + lie % ("x" * 999)).removeprefix("UnsupportedImage: ")
    assert words == ("one ERROR two [2J" + "x" * 999)[:300]


def test_a_mistake_of_ours_is_told_to_the_log_alone(
    prey: Decoder, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Internal) as caught:
        prey.decode(b"mistake")
    assert caught.value.detail == Internal.title
    assert "KeyError in " in caplog.text
    assert "_mistake:" in caplog.text
    assert "a secret of the photo" not in caplog.text


# other tests may have left threads behind; what is forked here calls none of their code
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("deed", "refusal"),
    [
        (lambda: os.open("/dev/null", os.O_RDONLY), errno.EMFILE),
        (socket.socket, errno.EMFILE),
        (os.fork, errno.EAGAIN),
        (lambda: bytearray(2 << 30), errno.ENOMEM),
        (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100)), errno.EPERM),
    ],
    ids=["open", "socket", "fork", "memory", "setrlimit"],
)
def test_where_no_system_calls_are_filtered_the_limits_hold(
    deed: Callable[[], object], refusal: int
) -> None:
    parent = os.getpid()

    def life() -> int:
        sandbox.keep_only()
        sandbox.confine(parent, Bounds(), 1 << 20, allowed=None)
        try:
            deed()
        except OSError as error:
            return error.errno or 255
        except ValueError:  # as Python calls it for limits
            return errno.EPERM
        except MemoryError:
            return errno.ENOMEM
        return 0

    assert kernel.exit_code_of(kernel.fork(life)) == refusal
