"""The languages of the web pages: their texts, and which one a request gets.

Each language is one JSON file. The server renders the shell of a page with it, and the scripts of
the page read the same file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from flask import Request

#: The name of each language in itself, by its code.
LANGUAGES: Mapping[str, str] = MappingProxyType({"en": "English", "zh": "中文"})
#: Set by the switch in the page. Without it, the language follows the browser.
COOKIE = "facemend-language"
_DEFAULT = "en"
_FOLDER = Path(__file__).parent / "static" / "strings"

#: A text, or its plural forms by the categories of Unicode CLDR: one, other.
Words = Mapping[str, str | Mapping[str, str]]


def language_of(request: Request) -> str:
    """Return the language of a page: the one that was chosen in it, else that of the browser."""
    chosen = request.cookies.get(COOKIE)
    if chosen in LANGUAGES:
        return str(chosen)
    return request.accept_languages.best_match(list(LANGUAGES), default=_DEFAULT) or _DEFAULT


@cache
def words(language: str) -> Words:
    """Return all texts of a language, by their names."""
    texts: dict[str, str | Mapping[str, str]] = json.loads(
        (_FOLDER / f"{language}.json").read_text("utf-8")
    )
    return MappingProxyType(texts)
