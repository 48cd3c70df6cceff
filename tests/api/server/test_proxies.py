from __future__ import annotations

import json
import re
from typing import Any

import pytest

from api.server.proxies import Proxies
from shared.errors import MalformedRequest, SettingsInvalid
from shared.settings import Settings
from tests.api.server.conftest import Served, Serves

JOB = b'{"input": {"url": "https://example.com/photo.jpg"}}'
FIELDS = ("Content-Type: application/json", f"Content-Length: {len(JOB)}")
PREFIX = "X-Forwarded-Prefix: /photos"


def applied(settings: dict[str, Any], **said: str) -> dict[str, Any]:
    environ = {"REMOTE_ADDR": "10.0.0.7", "PATH_INFO": "/v1/models", "wsgi.url_scheme": "http"}
    environ |= {f"HTTP_X_FORWARDED_{name.upper()}": value for name, value in said.items()}
    Proxies(Settings(_env_file=None, **settings)).apply(environ)
    return environ


def location(served: Served, *fields: str, path: str = "/v1/restorations") -> str:
    status, found, _ = served.say(served.head("POST", path, *FIELDS, *fields) + JOB)
    assert status == 202
    return found["location"]


def test_the_prefix_of_the_settings_is_kept(serves: Serves) -> None:
    served = serves(api_prefix="/photos")
    for path in ("/photos/v1/restorations", "/v1/restorations"):  # with and without it
        assert location(served, path=path).startswith("/photos/v1/restorations/job_")
    job = location(served)
    assert served.say(served.head("GET", job))[0] == 200
    _, _, page = served.say(served.head("GET", "/photos/"))
    assert b'src="/photos/static/page/main.js"' in page
    assert b'name="facemend-root" content="/photos"' in page
    _, _, document = served.say(served.head("GET", "/photos/openapi.json"))
    assert [server["url"] for server in json.loads(document)["servers"]] == ["/photos"]


def test_a_trusted_proxy_may_say_the_prefix(serves: Serves) -> None:
    served = serves(trusted_proxies=("127.0.0.0/8",))
    assert location(served, PREFIX).startswith("/photos/v1/restorations/job_")
    assert location(served).startswith("/v1/restorations/job_")
    _, _, document = served.say(served.head("GET", "/openapi.json", PREFIX))
    assert [server["url"] for server in json.loads(document)["servers"]] == ["/photos"]


def test_nobody_else_may_say_it(serves: Serves) -> None:
    assert location(serves(), PREFIX).startswith("/v1/restorations/job_")
    other = serves(trusted_proxies=("10.0.0.0/8",))
    assert location(other, PREFIX).startswith("/v1/restorations/job_")


@pytest.mark.parametrize("prefix", ["//evil.example", "/a b", "/a?b", "photos", "/..%2f"])
def test_a_prefix_that_is_no_path_is_refused(prefix: str) -> None:
    with pytest.raises(MalformedRequest):
        applied({"trusted_proxies": ("10.0.0.0/8",)}, prefix=prefix)


def test_the_nearest_proxy_says_where_the_client_is() -> None:
    trusted = {"trusted_proxies": ("10.0.0.0/8",)}
    environ = applied(trusted, **{"for": "6.6.6.6, 192.0.2.1", "proto": "https"})
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == ("192.0.2.1", "https")
    environ = applied({}, **{"for": "192.0.2.1", "proto": "https"})
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == ("10.0.0.7", "http")


@pytest.mark.parametrize("value", ["not an address", "10.0.0.1/33", "10.0.0.1/8"])
def test_a_network_that_is_none_is_refused_at_the_start(value: str) -> None:
    with pytest.raises(SettingsInvalid, match="FACEMEND_TRUSTED_PROXIES"):
        Proxies(Settings(_env_file=None, trusted_proxies=(value,)))


def test_a_setting_that_is_no_path_is_refused_at_the_start() -> None:
    with pytest.raises(SettingsInvalid, match="FACEMEND_API_PREFIX"):
        Proxies(Settings(_env_file=None, api_prefix="http://example.com/photos"))


def test_a_slash_at_the_end_of_a_path_changes_nothing(served: Served) -> None:
    assert location(served, path="/v1/restorations/").startswith("/v1/restorations/job_")
    assert served.say(served.head("GET", "/v1/models/"))[0] == 200


def test_each_route_is_the_same_with_a_slash_at_its_end(served: Served) -> None:
    rules = served.server.resources.app.url_map.iter_rules()
    paths = {re.sub(r"<[^>]*>", "x", rule.rule).rstrip("/") for rule in rules}
    assert len(paths) > 15
    for path in paths - {""}:
        with_slash, without = (
            served.say(served.head("OPTIONS", each)) for each in (f"{path}/", path)
        )
        assert with_slash[0] == without[0] == 200
        assert set(with_slash[1]["allow"].split(", ")) == set(without[1]["allow"].split(", "))


def test_head_and_get_of_each_public_page_agree(served: Served) -> None:
    for path in ("/", "/docs", "/openapi.json", "/healthz", "/readyz"):
        seen, whole = (served.say(served.head(method, path)) for method in ("HEAD", "GET"))
        assert seen[0] == whole[0] == 200
        assert seen[2] == b""
        assert seen[1]["content-length"] == str(len(whole[2]))
