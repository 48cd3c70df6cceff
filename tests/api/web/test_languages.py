from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import api
from api.web.languages import LANGUAGES, words

_WEB = Path(api.__file__).parent
_SOURCES = [*(_WEB / "web" / "static").rglob("*.js"), *(_WEB / "web" / "templates").glob("*.html")]


def placeholders(text: object) -> set[str]:
    return set(re.findall(r"\{\w+\}", json.dumps(text)))


@pytest.mark.parametrize("language", sorted(set(LANGUAGES) - {"en"}))
def test_a_language_has_every_text_of_english_with_the_same_values(language: str) -> None:
    english, other = words("en"), words(language)
    assert other.keys() == english.keys()
    for key, text in english.items():
        assert placeholders(other[key]) == placeholders(text), key


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_every_plural_has_a_form_for_any_number(language: str) -> None:
    for key, text in words(language).items():
        assert isinstance(text, str) or "other" in text, key


def test_every_text_that_a_page_names_exists() -> None:
    sources = "".join(file.read_text("utf-8") for file in _SOURCES)
    named = set(re.findall(r"""\b(?:t|label|placeholder)\("([a-z._-]+)"[),]""", sources))
    assert len(named) > 50
    assert named <= words("en").keys()


def test_every_problem_of_the_service_has_a_title_and_an_advice() -> None:
    from shared.errors import CommandError, ControlError, FacemendError

    def kinds(base: type[FacemendError]) -> set[type[FacemendError]]:
        return {base}.union(*(kinds(child) for child in base.__subclasses__()))

    internal = kinds(ControlError) | kinds(CommandError)
    for code in {kind.code for kind in kinds(FacemendError) - internal}:
        assert f"problem.{code}.title" in words("en")
        assert f"problem.{code}.text" in words("en")


def test_every_reason_of_a_skipped_face_has_words() -> None:
    from worker.engine.faces import skip_reasons

    for reason in skip_reasons.SKIPPED | skip_reasons.FAILED:
        assert f"reason.{reason}" in words("en")
