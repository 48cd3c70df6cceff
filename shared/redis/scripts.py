"""The Lua scripts of ``shared/lua``: loaded, put together with their includes, and run.

A script gets those of the common functions (``shared/lua/includes``) that it uses, and no others:
Redis runs a script from its first line each time, so every function that it is given is made, and
collected, once a call.
"""

from __future__ import annotations

import os
import re
import threading
from hashlib import sha1
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import redis

from shared.redis.client import redis_errors

_BEGIN = re.compile(r"^local (?:function )?(\w+)", re.MULTILINE)
# Comments and strings are matched too, so that nothing in them is taken for a name.
_NAME = re.compile(r"--[^\n]*|'[^'\n]*'|([A-Za-z_]\w*)")
#: What scripts begin with, in this order: each part uses those before it.
PRELUDE = ("prelude", "waiting", "outbox", "states")


def prelude(folder: Traversable | None = None) -> str:
    """The functions that scripts share; each gets those that it uses (see ``linked``)."""
    texts = _texts(folder or resources.files("shared") / "lua")
    return "".join(texts[part] for part in PRELUDE)


def _texts(folder: Traversable) -> dict[str, str]:
    """All scripts in ``folder`` and the folders in it, by file name without its ending."""
    texts: dict[str, str] = {}
    for entry in folder.iterdir():
        if entry.is_dir():
            texts |= _texts(entry)
        elif entry.name.endswith(".lua"):
            texts[entry.name.removesuffix(".lua")] = entry.read_text("utf-8")
    return texts


class Scripts:
    """The scripts of ``shared/lua`` or another ``folder``, each run as one atomic step.

    Each thread has a connection of its own for them: with what redis-py does and notes for itself
    whenever it takes one out of its pool, a call would cost twice as much.
    """

    def __init__(self, client: redis.Redis, folder: Traversable | None = None) -> None:
        folder = folder or resources.files("shared") / "lua"
        texts = _texts(folder)
        before = prelude(folder)
        self._texts = {
            name: linked(before, text) for name, text in texts.items() if name not in PRELUDE
        }
        self._names = {
            name: sha1(text.encode(), usedforsecurity=False).hexdigest()
            for name, text in self._texts.items()
        }
        self.client = client
        self._pool = client.connection_pool
        self._own = threading.local()

    def run(self, name: str, *args: str | float) -> Any:
        """Run one script (EVALSHA, and EVAL when Redis does not know it yet).

        Raises Unavailable.
        """
        with redis_errors():
            try:
                return self._ask("EVALSHA", self._names[name], 0, *args)
            except redis.exceptions.NoScriptError:
                return self._ask("EVAL", self._texts[name], 0, *args)

    def _ask(self, *command: str | float) -> Any:
        connection = self._connection()
        try:
            return _exchange(connection, command)
        except redis.ConnectionError:  # cut: a new one, once
            return _exchange(connection, command)

    def _connection(self) -> Any:  # redis-py publishes no types for it
        own = getattr(self._own, "connection", None)
        if own is None or own.pid != os.getpid():  # that of another process must stay untouched
            own = self._own.connection = self._pool.make_connection()
        return own


def _exchange(connection: Any, command: tuple[str | float, ...]) -> Any:
    """Send and read, or close: no later command may find an answer that is not its own."""
    try:
        connection.send_command(*command)
        return connection.read_response()
    except redis.ResponseError:
        raise  # it was read
    except BaseException:
        connection.disconnect()
        raise


def linked(common: str, script: str) -> str:
    """``script`` behind what it needs of ``common``.

    ``common`` is a row of ``local`` definitions, each at the start of a line; one may use those
    before it.
    """
    begins = list(_BEGIN.finditer(common))
    ends = [begin.start() for begin in begins[1:]] + [len(common)]
    needed, parts = _names(script), [script]
    for begin, end in zip(reversed(begins), reversed(ends), strict=True):
        if begin[1] in needed:
            part = common[begin.start() : end]
            needed |= _names(part)
            parts.append(part)
    return "".join(reversed(parts))


def _names(lua: str) -> set[str]:
    return {name for name in _NAME.findall(lua) if name}
