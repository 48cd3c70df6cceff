from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from flask.testing import FlaskClient

from api import Services, create_app
from shared.settings import Settings


class Links(HTMLParser):
    """Collects what a page loads, and what it carries inline."""

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
        self.loaded += [found[name] or "" for name in ("src", "href", "data-url") if name in found]
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


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_loads_nothing_from_elsewhere_and_all_of_it_is_there(
    anonymous: FlaskClient, path: str
) -> None:
    links, policy = read(anonymous, path)
    assert links.inline == []
    assert "'unsafe-inline'" not in policy["script-src"]
    assert policy["default-src"] == "'none'"
    assert links.loaded
    for address in links.loaded:
        assert address.startswith("/")
        assert anonymous.get(address).status_code == 200


def test_pictures_may_come_from_the_storage_and_nowhere_else(
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
def test_pictures_come_from_where_clients_reach_the_storage(
    services: Services, settings: Settings, change: dict[str, Any], origin: str
) -> None:
    changed = dataclasses.replace(services, settings=settings.model_copy(update=change))
    _, policy = read(create_app(changed).test_client(), "/")
    assert policy["img-src"].split()[-1] == origin


def test_the_script_of_the_page_finds_every_element_it_names(anonymous: FlaskClient) -> None:
    links, _ = read(anonymous, "/")
    script = anonymous.get("/static/page.js").get_data(as_text=True)
    named = set(re.findall(r'(?:\$|list|show)\("([a-z-]+)"', script))
    assert named
    assert named <= links.ids


def test_the_script_never_writes_html(anonymous: FlaskClient) -> None:
    """Names and details come from strangers."""
    script = anonymous.get("/static/page.js").get_data(as_text=True)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)


@pytest.mark.parametrize(
    "path",
    ["/docs/assets/../../plugins.py", "/docs/assets/%2e%2e/__init__.py", "/static/../wsgi.py"],
)
def test_files_beside_the_assets_are_not_served(anonymous: FlaskClient, path: str) -> None:
    assert anonymous.get(path).status_code == 404


def test_answers_cannot_be_framed_or_sniffed(client: Any) -> None:
    headers = client.get("/v1/models").headers
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
