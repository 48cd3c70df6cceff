"""The Lua scripts of ``shared/lua``: loaded, combined with their includes, and run.

A script gets only those functions of the includes (``shared/lua/includes``) that it uses. Redis
runs a script from its first line each time, so each function in it is created, and collected, once
a call.

The comment at the top of a script declares its arguments, one a line: ``--   limit: number   …``.
``run`` passes them by name, and the script reads them as local variables. Types:

- ``text`` and ``number``; with ``?`` an argument may be None, which is nil in the script;
- ``flag``: True or False;
- ``texts``: a sequence; only the last argument can be one.
"""

from __future__ import annotations

import math
import os
import re
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources.abc import Traversable
from pathlib import Path
from time import monotonic
from typing import Any

import redis

from shared.redis.client import redis_errors
from shared.telemetry import REDIS_SECONDS, timed

_Argument = str | float | None
_FOLDER = Path(__file__).parents[1] / "lua"

#: Connections that a process keeps while it makes no call. More than those are closed one by one,
#: each after so many seconds without a call: a new one costs more than a call.
_KEPT, _SPARE_S = 4, 10.0
#: Files of functions that scripts share. Each one uses functions of those before it.
INCLUDES = (
    "common",
    "fair_queue",
    "equal_jobs",
    "outbox",
    "batches",
    "transitions",
    "workers",
)
_DEFINITION = re.compile(r"^local (?:function )?(\w+)", re.MULTILINE)
# Comments and strings are matched too, so that no word in them counts as a name.
_NAME = re.compile(r"--[^\n]*|'[^'\n]*'|([A-Za-z_]\w*)")
_ARGUMENTS = re.compile(r"^-- Arguments:(?: none)?\n((?:--   .*\n)*)", re.MULTILINE)
_ARGUMENT = re.compile(r"--   (\w+): (text\??|number\??|flag|texts)(?: .*)?")
#: How a script reads an argument of each type; Redis passes them all as text.
_READ = {
    "text": "ARGV[{0}]",
    "text?": "(ARGV[{0}] ~= '' and ARGV[{0}] or nil)",
    "number": "tonumber(ARGV[{0}])",
    "number?": "tonumber(ARGV[{0}])",  # nil for an empty text
    "flag": "ARGV[{0}] == '1'",
    "texts": "{{unpack(ARGV, {0})}}",
}


@dataclass(frozen=True, slots=True)
class Script:
    """One script as Redis gets it, and the types of its arguments by name, in their order."""

    name: str
    text: str
    digest: str
    arguments: Mapping[str, str]

    def values(self, arguments: Mapping[str, Any]) -> list[str | float]:
        """Put arguments in order. Raises TypeError unless they are those of the script."""
        if arguments.keys() != self.arguments.keys():
            wrong = sorted(arguments.keys() ^ self.arguments.keys())
            raise TypeError(f"script {self.name}: missing or unknown arguments {wrong}")
        values: list[str | float] = []
        for name, kind in self.arguments.items():
            value = arguments[name]
            if kind == "texts":
                values += value
            elif kind == "flag":
                values.append("1" if value else "0")
            elif value is None and kind.endswith("?"):
                values.append("")
            else:
                values.append(value)
        return values


class Scripts:
    """The scripts of ``shared/lua`` or of another ``folder``. Each one runs as one atomic step.

    The connections for them are not in redis-py's pool, which does so much work for each call that
    it would cost twice as much. A thousand workers share one Redis, so each process keeps few.
    """

    def __init__(self, client: redis.Redis, folder: Traversable | None = None) -> None:
        self._scripts = load_scripts(folder)
        self.client = client
        self._pool = client.connection_pool
        #: Connections, each after the time of its last call. The last one used is used next.
        self._idle: deque[tuple[float, Any]] = deque()

    def run(self, name: str, /, **arguments: _Argument | Sequence[str | float]) -> Any:
        """Run one script and return what it returns.

        The arguments are those that the script declares. Raises Unavailable, and TypeError for
        other arguments.
        """
        connection = self._take()
        try:
            return self._run(connection, name, arguments)
        finally:
            self._give_back(connection)

    def run_replicated(
        self,
        name: str,
        replicas: int,
        timeout_s: float,
        /,
        **arguments: _Argument | Sequence[str | float],
    ) -> tuple[Any, int]:
        """Run one script, and wait until ``replicas`` replicas (0: none) have what it wrote.

        Returns what ``run`` returns, and how many replicas have it. Raises Unavailable.
        """
        connection = self._take()
        try:
            answer = self._run(connection, name, arguments)
            if not replicas:
                return answer, 0
            with redis_errors():
                wait = ("WAIT", replicas, math.ceil(1000 * timeout_s))
                return answer, int(_ask(connection, wait))
        finally:
            self._give_back(connection)

    def _run(self, connection: Any, name: str, arguments: Mapping[str, Any]) -> Any:
        script = self._scripts[name]
        values = script.values(arguments)
        with timed(REDIS_SECONDS.labels(name)), redis_errors():
            try:
                return _ask(connection, ("EVALSHA", script.digest, 0, *values))
            except redis.exceptions.NoScriptError:  # Redis does not know it yet
                return _ask(connection, ("EVAL", script.text, 0, *values))

    def _take(self) -> Any:  # redis-py publishes no types for a connection
        while self._idle:
            with suppress(IndexError):  # another thread was faster
                _, connection = self._idle.pop()
                if connection.pid == os.getpid():  # else another process may use it
                    return connection
        return self._pool.make_connection()

    def _give_back(self, connection: Any) -> None:
        now_s = monotonic()
        self._idle.append((now_s, connection))
        with suppress(IndexError):  # another thread has taken all of them
            if len(self._idle) > _KEPT and now_s - self._idle[0][0] > _SPARE_S:
                self._idle.popleft()[1].disconnect()


def _ask(connection: Any, command: tuple[_Argument, ...]) -> Any:
    try:
        return _exchange(connection, command)
    except redis.ConnectionError:  # it broke: once more, on a new one
        return _exchange(connection, command)


def _exchange(connection: Any, command: tuple[_Argument, ...]) -> Any:
    """Send and read, or close: a later command must not read the response to this one."""
    try:
        connection.send_command(*command)
        return connection.read_response()
    except redis.ResponseError:
        raise  # the response was read
    except BaseException:
        connection.disconnect()
        raise


def load_scripts(folder: Traversable | None = None) -> dict[str, Script]:
    """Read the scripts in ``folder`` (default: ``shared/lua``) and the folders in it."""
    texts = _texts(folder or _FOLDER)
    common = "".join(texts.pop(name) for name in INCLUDES)
    return {name: _script(name, text, common) for name, text in texts.items()}


def includes() -> str:
    """Return all functions that scripts share."""
    texts = _texts(_FOLDER / "includes")
    return "".join(texts[name] for name in INCLUDES)


def with_includes(common: str, script: str) -> str:
    """Put the definitions of ``common`` that ``script`` uses before it.

    ``common`` is a series of ``local`` definitions, each at the start of a line. A definition may
    use those before it.
    """
    begins = list(_DEFINITION.finditer(common))
    ends = [begin.start() for begin in begins[1:]] + [len(common)]
    needed, parts = _names(script), [script]
    for begin, end in zip(reversed(begins), reversed(ends), strict=True):
        if begin[1] in needed:
            part = common[begin.start() : end]
            needed |= _names(part)
            parts.append(part)
    return "".join(reversed(parts))


def declared_arguments(name: str, script: str) -> dict[str, str]:
    """Return the types of a script's arguments by name. Raises ValueError if it declares none."""
    block = _ARGUMENTS.search(script)
    if block is None:
        raise ValueError(f"script {name} does not declare its arguments")
    found = [_ARGUMENT.fullmatch(line) for line in block[1].splitlines() if line[5] != " "]
    types = {match[1]: match[2] for match in found if match is not None}
    if len(types) != len(found) or "texts" in list(types.values())[:-1]:
        raise ValueError(f"script {name} declares an argument that cannot be read")
    return types


def _script(name: str, text: str, common: str) -> Script:
    arguments = declared_arguments(name, text)
    reads = [_READ[kind].format(place) for place, kind in enumerate(arguments.values(), 1)]
    locals_ = f"local {', '.join(arguments)} = {', '.join(reads)}\n" if arguments else ""
    whole = with_includes(common, locals_ + text)
    digest = sha1(whole.encode(), usedforsecurity=False).hexdigest()
    return Script(name, whole, digest, arguments)


def _texts(folder: Traversable) -> dict[str, str]:
    """Read all scripts in ``folder`` and the folders in it, by file name without its ending."""
    texts: dict[str, str] = {}
    for entry in folder.iterdir():
        if entry.is_dir():
            texts |= _texts(entry)
        elif entry.name.endswith(".lua"):
            texts[entry.name.removesuffix(".lua")] = entry.read_text("utf-8")
    return texts


def _names(lua: str) -> set[str]:
    return {name for name in _NAME.findall(lua) if name}
