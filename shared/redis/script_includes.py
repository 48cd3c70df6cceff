"""Each Lua script with those of the common functions that it uses, and no others.

Redis runs a script from its first line each time: every function that it is given is made, and
swept up, once a call.
"""

from __future__ import annotations

import re

_BEGIN = re.compile(r"^local (?:function )?(\w+)", re.MULTILINE)
# Comments and strings are matched too, so that nothing in them is taken for a name.
_NAME = re.compile(r"--[^\n]*|'[^'\n]*'|([A-Za-z_]\w*)")


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
