"""What a file that has taken the decoder over might do: each photo names a deed and its object.

``read`` is run in place of the real decoder, by the nursery, in the real sandbox. What it could not
do is told as the words of an UnsupportedImage, what it could as a photo.
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
from worker.decoder import result_file as parcel
from worker.imaging.decode import Photo, decode
from worker.imaging.limits import Limits

_FIRST_FDS = range(3, 200)


def read(data: bytes, limits: Limits) -> Photo:
    """``deed`` or ``deed:object``; any other bytes are a photo."""
    name, _, thing = data.decode("latin-1").partition(":")
    if name not in DEEDS:
        return decode(data, limits)
    try:
        done = DEEDS[name](thing)
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
    """Without using the processor."""
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


def _loosen(_: str) -> object:
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
    return "loosened"


def _leave(code: str) -> object:
    os._exit(int(code))


def _mistake(_: str) -> object:
    raise KeyError("a secret of the photo")


def _forge(_: str) -> object:
    """Write into every file that is there."""
    return _refusals(lambda fd: os.pwrite(fd, b"forged", 0))


def _fill(_: str) -> object:
    """Make every file that is there as large as can be."""
    return _refusals(lambda fd: os.ftruncate(fd, 1 << 40))


def _refusals(deed: Callable[[int], object]) -> list[str]:
    refusals = []
    for fd in _FIRST_FDS:
        try:
            deed(fd)
        except OSError as error:
            refusals.append(errno.errorcode[error.errno or 0])
        else:
            refusals.append("done")
    return sorted(refusal for refusal in refusals if refusal != "EBADF")


def _lie(words: str) -> object:
    """Say something else than a header, and leave as if all were well."""
    for fd in _FIRST_FDS:
        try:
            parcel.write(fd, words.encode().ljust(parcel.HEAD_BYTES, b"\0"))
        except OSError:
            continue
    os._exit(0)


def _identity(_: str) -> object:
    return os.getpid()


DEEDS: dict[str, Callable[[str], object]] = {
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
    "loosen": _loosen,
    "leave": _leave,
    "mistake": _mistake,
    "forge": _forge,
    "fill": _fill,
    "lie": _lie,
    "identity": _identity,
}
