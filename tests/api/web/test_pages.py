from __future__ import annotations

import dataclasses
import gzip
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from flask.testing import FlaskClient

from api import Services, create_app
from api.web.languages import words
from shared.settings import Settings

PAGES = ["/", "/admin"]


class Links(HTMLParser):
    """Collects what a page loads, and its inline content."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.inline: list[str] = []
        self.ids: set[str] = set()
        self._open = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self._open = tag
        self.ids.add(found.get("id") or "")
        addresses = [found[name] or "" for name in ("src", "href", "data-url") if name in found]
        self.loaded += [address for address in addresses if not address.startswith("#")]
        self.inline += [name for name in found if name.startswith("on") or name == "style"]

    def handle_data(self, data: str) -> None:
        if self._open in {"script", "style"} and data.strip():
            self.inline.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._open = ""


def read(client: FlaskClient, path: str) -> tuple[Links, dict[str, str]]:
    answer = client.get(path)
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    links = Links()
    links.feed(answer.get_data(as_text=True))
    policy = dict(
        part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";")
    )
    return links, policy


@pytest.mark.parametrize("path", [*PAGES, "/docs"])
def test_a_page_loads_only_assets_that_the_api_serves(anonymous: FlaskClient, path: str) -> None:
    links, policy = read(anonymous, path)
    assert links.inline == []
    assert "'unsafe-inline'" not in policy["script-src"]
    assert policy["default-src"] == "'none'"
    assert links.loaded
    for address in links.loaded:
        assert address.startswith("/")
        assert anonymous.get(address).status_code == 200


def test_pictures_may_come_from_the_storage_only(
    anonymous: FlaskClient, settings: Settings
) -> None:
    _, policy = read(anonymous, "/")
    assert policy["img-src"] == f"'self' blob: {settings.s3_endpoint_url}"


@pytest.mark.parametrize(
    ("change", "origin"),
    [
        ({"s3_public_endpoint_url": "https://cdn.example:8443/path"}, "https://cdn.example:8443"),
        (
            {"s3_endpoint_url": None, "s3_region": "eu-central-1"},
            "https://s3.eu-central-1.amazonaws.com",
        ),
    ],
)
def test_pictures_come_from_the_public_endpoint_of_the_storage(
    services: Services, settings: Settings, change: dict[str, Any], origin: str
) -> None:
    changed = dataclasses.replace(services, settings=settings.model_copy(update=change))
    _, policy = read(create_app(changed).test_client(), "/")
    assert policy["img-src"].split()[-1] == origin


def modules(client: FlaskClient, path: str) -> str:
    """The text of all modules that a page loads."""
    links, _ = read(client, path)
    scripts = [address for address in links.loaded if address.endswith(".js")]
    assert scripts
    return "".join(client.get(address).get_data(as_text=True) for address in scripts)


@pytest.mark.parametrize("path", PAGES)
def test_every_element_that_the_modules_use_is_in_the_page(
    anonymous: FlaskClient, path: str
) -> None:
    links, _ = read(anonymous, path)
    named = set(re.findall(r'\$\("([a-z-]+)"\)', modules(anonymous, path)))
    assert named
    assert named <= links.ids


@pytest.mark.parametrize("path", PAGES)
def test_the_modules_never_write_html(anonymous: FlaskClient, path: str) -> None:
    """Names and details in the page are not trusted."""
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", modules(anonymous, path)
    )


@pytest.mark.parametrize("path", PAGES)
def test_a_page_lists_each_module_that_its_modules_import(
    anonymous: FlaskClient, path: str
) -> None:
    """So the browser loads them at once, not one after the other."""
    links, _ = read(anonymous, path)
    listed = {address.rpartition("/")[2] for address in links.loaded}
    imported = set(re.findall(r'from "[./a-z]*/([a-z_]+\.js)"', modules(anonymous, path)))
    assert imported
    assert imported <= listed


@pytest.mark.parametrize("path", PAGES)
def test_own_scripts_and_styles_of_a_page_have_at_most_60_kb_as_gzip(
    anonymous: FlaskClient, path: str
) -> None:
    links, _ = read(anonymous, path)
    own = {address for address in links.loaded if address.endswith((".js", ".css"))}
    sizes = [len(gzip.compress(anonymous.get(address).data)) for address in own]
    assert 0 < sum(sizes) <= 60_000


@pytest.mark.parametrize(
    ("browser", "chosen", "language"),
    [
        ("", None, "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", None, "zh"),
        ("de-DE,de;q=0.9,en;q=0.5,zh;q=0.1", None, "en"),
        ("fr", None, "en"),
        ("en", "zh", "zh"),
        ("zh", "../../etc", "zh"),
    ],
)
def test_a_page_has_the_language_of_the_browser_or_the_one_that_was_chosen(
    anonymous: FlaskClient, browser: str, chosen: str | None, language: str
) -> None:
    if chosen:
        anonymous.set_cookie("facemend-language", chosen)
    answer = anonymous.get("/", headers={"Accept-Language": browser})
    assert answer.headers["Content-Language"] == language
    assert f'<html lang="{language}">' in answer.get_data(as_text=True)
    assert str(words(language)["welcome.title"]) in answer.get_data(as_text=True)
    assert answer.headers["Vary"] == "Accept-Language, Cookie"


@pytest.mark.parametrize(
    "path",
    ["/docs/assets/../../plugins.py", "/docs/assets/%2e%2e/__init__.py", "/static/../wsgi.py"],
)
def test_files_beside_the_assets_are_not_served(anonymous: FlaskClient, path: str) -> None:
    assert anonymous.get(path).status_code == 404


def test_responses_forbid_framing_and_content_sniffing(client: Any) -> None:
    headers = client.get("/v1/models").headers
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
