"""Bytes from the network into checked requests: strict JSON, and errors that point at the field."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn, TypeVar

from flask import request
from pydantic import BaseModel, ValidationError

from shared.errors import InvalidRequest, MalformedRequest

Model = TypeVar("Model", bound=BaseModel)

_BOM = b"\xef\xbb\xbf"
_WORDS = {"extra_forbidden": "unknown field", "missing": "this field is needed"}
#: Each error costs the client a line; nobody reads more than this.
_MAX_ERRORS = 50
#: An error message repeats no more than this of a name that the client chose.
_SHOWN_CHARACTERS = 200


def read_json(data: bytes) -> Any:
    """Parse JSON as RFC 8259 means it.

    Raises MalformedRequest for what ``json.loads`` would let through or choke on: a byte order
    mark, duplicate names, NaN and infinities, lone surrogates, bottomless nesting.
    """
    if data.startswith(_BOM):
        raise MalformedRequest("The JSON begins with a byte order mark; leave it out.")
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant
        )
        # Writing it out again finds lone surrogates, and numbers that overflowed to infinity.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except UnicodeDecodeError:
        raise MalformedRequest("The JSON is not UTF-8.") from None
    except UnicodeEncodeError:
        raise MalformedRequest("The JSON holds half of a surrogate pair.") from None
    except RecursionError:
        raise MalformedRequest("The JSON is nested too deeply.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise MalformedRequest(f"The JSON is broken: {error.msg} at {where}.") from None
    except ValueError:
        raise MalformedRequest("The JSON holds a number that is too large.") from None
    return value


def validate(model: type[Model], value: Any) -> Model:
    """Make ``model`` of parsed JSON. Raises InvalidRequest with a JSON pointer for each error."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise invalid(error, value) from None


def invalid(error: ValidationError, value: Any) -> InvalidRequest:
    """Pydantic's errors about ``value`` in the words of the contract, one for each pointer."""
    details: dict[str, list[str]] = {}
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        detail = _WORDS.get(item["type"]) or _sentence(item["msg"])
        details.setdefault(_pointer(item["loc"], item["type"], value), []).append(detail)
    errors = [(pointer, ", or: ".join(found)) for pointer, found in details.items()]
    count = "1 field is" if len(errors) == 1 else f"{len(errors)} fields are"
    return InvalidRequest(f"{count} not valid.", errors[:_MAX_ERRORS])


def pointer(*path: str | int) -> str:
    """RFC 6901: ``/options/faces/0``; the empty string is the whole document."""
    escaped = (str(part).replace("~", "~0").replace("/", "~1") for part in path)
    return "".join(f"/{part}" for part in escaped)


def _pointer(location: Sequence[str | int], kind: str, value: Any) -> str:
    """Follow pydantic's location through ``value``, leaving out the names of union branches."""
    path: list[str | int] = []
    for place, part in enumerate(location, 1):
        missing = kind == "missing" and place == len(location)
        if _holds(value, part):
            value = value[part]
        elif not (missing and isinstance(value, dict)):
            continue  # the name of a union's branch, or pydantic's "[key]"
        path.append(part)
    return pointer(*path)


def _holds(value: Any, part: str | int) -> bool:
    if isinstance(value, list):
        return isinstance(part, int) and part < len(value)
    return isinstance(value, dict) and part in value


def _sentence(message: str) -> str:
    """``Value error, give one`` → ``give one``; our classes' names mean nothing to customers."""
    message = message.removeprefix("Value error, ")
    if "instance of" in message:
        return "Input should be an object"
    return message


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (name, *_) = repeated(name for name, _ in pairs)
        shown = json.dumps(name[:_SHOWN_CHARACTERS])
        raise MalformedRequest(f"The JSON has the name {shown} twice in one object.")
    return found


def repeated(names: Iterable[str]) -> list[str]:
    """Names that occur more than once, in the order of their second occurrence; linear time."""
    seen: set[str] = set()
    again: dict[str, None] = {}
    for name in names:
        if name in seen:
            again[name] = None
        seen.add(name)
    return list(again)


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedRequest(f"{name} is no JSON.")


def refuse_parameters(error: ValidationError) -> NoReturn:
    """Errors in the query string, in the same shape: ``/limit`` points at ``?limit=``."""
    raise invalid(error, request.args.to_dict())
