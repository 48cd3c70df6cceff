"""Attacks by a photo that has taken the decoder over: each photo names an attack and its target.

The fork server runs ``read`` in place of the real decoder, in the real sandbox. The outcome is the
detail of an UnsupportedImage.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from shared.errors import UnsupportedImage
from worker.decoder import memory_file
from worker.decoder.decoded_photo import HEAD_BYTES
from worker.imaging.decode import Photo, decode
from worker.imaging.limits import Limits

_FIRST_FDS = range(3, 200)


def read(data: bytes, limits: Limits) -> Photo:
    """Run ``attack`` or ``attack:target``; any other bytes are a photo."""
    name, _, target = data.decode("latin-1").partition(":")
    if name not in ATTACKS:
        return decode(data, limits)
    try:
        done = ATTACKS[name](target)
    except (OSError, MemoryError, RuntimeError, ValueError) as error:
        raise UnsupportedImage(f"{type(error).__name__} {error}") from None
    raise UnsupportedImage(f"done: {done}")


def _socket(_: str) -> object:
    return socket.socket()


def _open(path: str) -> object:
    return Path(path).read_text()


def _write(path: str) -> object:
    return Path(path).write_text("was here")


def _list(path: str) -> object:
    return list(Path(path).iterdir())


def _environment(_: str) -> object:
    return ",".join(os.environ)


def _fork(_: str) -> object:
    while True:
        os.fork()


def _thread(_: str) -> object:
    threading.Thread(target=time.sleep, args=(60,)).start()
    return "a thread"


def _run(path: str) -> object:
    return subprocess.run([path], check=True)


def _execute(path: str) -> object:
    return os.execv(path, [path])


def _allocate(gigabytes: str) -> object:
    hoard = mmap.mmap(-1, int(gigabytes) << 30)
    hoard[:: mmap.PAGESIZE] = b"x" * (len(hoard) // mmap.PAGESIZE)
    return len(hoard)


def _loop(_: str) -> object:
    while True:
        pass


def _hang(_: str) -> object:
    """Wait for ever, without using the processor."""
    lock = threading.Lock()
    lock.acquire()
    return lock.acquire()


def _crash(_: str) -> object:
    return ctypes.string_at(0)


def _abort(_: str) -> object:
    os.abort()


def _kill(pid: str) -> object:
    os.kill(int(pid or os.getppid()), signal.SIGKILL)
    return "killed"


def _raise_limit(_: str) -> object:
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
    return "raised"


def _leave(code: str) -> object:
    os._exit(int(code))


def _bug(_: str) -> object:
    raise KeyError("a secret of the photo")


def _forge(_: str) -> object:
    """Write into every open file."""
    return _refusals(lambda fd: os.pwrite(fd, b"forged", 0))


def _fill(_: str) -> object:
    """Make every open file as large as possible."""
    return _refusals(lambda fd: os.ftruncate(fd, 1 << 40))


def _refusals(attack: Callable[[int], object]) -> list[str]:
    refusals = []
    for fd in _FIRST_FDS:
        try:
            attack(fd)
        except OSError as error:
            refusals.append(errno.errorcode[error.errno or 0])
        else:
            refusals.append("done")
    return sorted(refusal for refusal in refusals if refusal != "EBADF")


def _lie(words: str) -> object:
    """Write these words instead of a header, and exit as if all were well."""
    for fd in _FIRST_FDS:
        try:
            memory_file.write(fd, words.encode().ljust(HEAD_BYTES, b"\0"))
        except OSError:
            continue
    os._exit(0)


def _identity(_: str) -> object:
    return os.getpid()


ATTACKS: dict[str, Callable[[str], object]] = {
    "socket": _socket,
    "open": _open,
    "write": _write,
    "list": _list,
    "environment": _environment,
    "fork": _fork,
    "thread": _thread,
    "run": _run,
    "execute": _execute,
    "allocate": _allocate,
    "loop": _loop,
    "hang": _hang,
    "crash": _crash,
    "abort": _abort,
    "kill": _kill,
    "raise-limit": _raise_limit,
    "leave": _leave,
    "bug": _bug,
    "forge": _forge,
    "fill": _fill,
    "lie": _lie,
    "identity": _identity,
}
