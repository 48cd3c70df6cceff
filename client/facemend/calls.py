"""Send a request, again if that may help, and read its answer; without input and output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from facemend.errors import ClientError, ProblemError, UnexpectedAnswer, Unreachable, problem_error
from facemend.models import Problem
from facemend.retry import Retries, is_temporary, retry_after_s
from facemend.steps import Answer, Open, Read, Request, Save, Send, Sleep, Steps, Stream

M = TypeVar("M", bound=BaseModel)

_SHOWN_CHARACTERS = 200


@dataclass
class Tries:
    """Whether a request was sent more than once, so that the first may have had its effect."""

    again: bool = False


def call(request: Request, patience_s: float, tries: Tries | None = None) -> Steps[Answer]:
    """Send the request, for ``patience_s`` seconds again if that may help.

    Returns an answer that is no refusal. Raises ProblemError, UnexpectedAnswer, Unreachable.
    """
    answer: Answer = yield from repeated(Send(request), patience_s, tries)
    return answer


def repeated(
    effect: Send | Save | Open, patience_s: float, tries: Tries | None = None
) -> Steps[Any]:
    """Perform the effect as ``call`` does; gives its Answer or Stream."""
    retries, tries = Retries(patience_s), tries or Tries()
    while True:
        failed: ClientError
        after_s = None
        try:
            answer: Answer | Stream = yield effect
        except Unreachable as error:
            if not error.temporary:
                raise
            failed = error
        else:
            if answer.status < 300:
                return answer
            whole = answer if isinstance(answer, Answer) else (yield from _whole(answer))
            failed, after_s = refusal(whole), retry_after_s(whole)
            if not is_temporary(whole, getattr(failed, "code", None)):
                raise failed
        pause_s = retries.pause_s(after_s)
        if pause_s is None:
            raise failed
        tries.again = True
        yield Sleep(pause_s)


def refusal(answer: Answer) -> ProblemError | UnexpectedAnswer:
    """Return the error that an answer describes."""
    if "problem+json" in answer.headers.get("content-type", ""):
        try:
            problem = Problem.model_validate_json(answer.content)
            return problem_error(problem, retry_after_s(answer))
        except ValidationError:
            pass  # it is said to be a problem, and is none
    text = " ".join(answer.content.decode("utf-8", "replace").split())
    return UnexpectedAnswer(answer.status, text[:_SHOWN_CHARACTERS] or "an empty answer")


def read_model(kind: type[M], answer: Answer) -> M:
    """Return the body as a model. Raises UnexpectedAnswer."""
    return parse_model(kind, answer.content, answer.status)


def parse_model(kind: type[M], content: bytes | str, status: int = 200) -> M:
    """Return JSON as a model. Raises UnexpectedAnswer."""
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        (first, *_) = error.errors()
        where = "/".join(str(part) for part in first["loc"])
        raise UnexpectedAnswer(status, f"no {kind.__name__} ({where}: {first['msg']})") from None


def _whole(stream: Stream) -> Steps[Answer]:
    text = ""
    while (piece := (yield Read(stream))) is not None:
        text += piece
    return Answer(stream.status, stream.headers, text.encode())
