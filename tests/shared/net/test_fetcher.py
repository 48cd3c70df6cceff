from __future__ import annotations

import gzip
import itertools
import time
from collections.abc import Iterator

import pytest

from shared.errors import (
    InputForbidden,
    InputNotFound,
    InputTimeout,
    InputTooLarge,
    InputUnreachable,
    JobCanceled,
)
from shared.net import connection
from shared.net.fetcher import Fetcher, vet
from shared.settings import PRIVATE_ADDRESSES, PrivateAddresses
from tests.origin import Origin, http

PHOTO = bytes(range(256)) * 100
SOON_S = 0.2


@pytest.fixture
def origin() -> Iterator[Origin]:
    server = Origin()
    server.answers["/photo.jpg"] = http("200 OK", PHOTO)
    yield server
    server.close()


@pytest.fixture(scope="module")
def fetcher() -> Fetcher:
    return Fetcher(allow_private="all")


def get(fetcher: Fetcher, url: str, *, max_bytes: int = 1_000_000, timeout_s: float = 10) -> bytes:
    return fetcher.get(url, max_bytes=max_bytes, timeout_s=timeout_s)


# --- the text of an address ---


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/photo.jpg",
        "HTTP://EXAMPLE.com:80/a?b=c&d=%20#part",
        "https://example.com:8443/",
        "http://93.184.216.34/",
        "http://[2606:4700::1111]:8080/x",
        "https://bücher.example/größe.jpg",
        "https://example.com",
        " https://example.com/a b.jpg?c d ",
        "https://example.com/\u2028\u00a0",
    ],
)
def test_a_public_address_passes(url: str) -> None:
    vet(url, allow_private="none")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "\uff11\uff12\uff17.\uff10.\uff10.\uff11",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "100.64.0.1",
        "10.0.0.1",
        "localhost",
        "redis",
    ],
)
def test_a_private_host_is_refused_in_every_spelling_unless_allowed(host: str) -> None:
    with pytest.raises(InputForbidden):
        vet(f"http://{host}/", allow_private="none")
    vet(f"http://{host}/", allow_private="all")


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.com/",
        "gopher://example.com/",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "example.com/photo.jpg",
        "",
        "http:",
        "http://",
        "http:/example.com",
        "http:///photo.jpg",
        "http://user:pass@example.com/",
        "http://user@example.com/",
        "http://@example.com/",
        "http://example.com\uff20127.0.0.1/",
        "http://example.com\\@127.0.0.1/",
        "http://example.com/\r\nHost: other",
        "http://example.com/\nx",
        "http://exa\tmple.com/",
        "http://example.com/\x00",
        "http://example.com/\x7f",
        "http://exa mple.com/",
        "http://exa\u2028mple.com/",
        "http://[v1.fe80]/",
        "http://[v1.fe80::a+en1]/",
        "http://example.com:0/",
        "http://example.com:65536/",
        "http://example.com:-1/",
        "http://example.com:80a/",
        "http://example.com:\uff18\uff10/",
        "http://[::1/",
        "http://[fe80::1%25eth0]/",
        "http://1.2.3.4.5/",
        "http://0/",
        "http://169.254.169.254/latest/meta-data",
        "http://[fd00:ec2::254]/",
        "http://224.0.0.1/",
    ],
)
@pytest.mark.parametrize("allow_private", PRIVATE_ADDRESSES)
def test_a_url_that_is_not_plain_http_is_always_refused(
    url: str, allow_private: PrivateAddresses
) -> None:
    with pytest.raises(InputForbidden):
        vet(url, allow_private=allow_private)


def test_an_address_may_have_2048_characters_and_no_more() -> None:
    url = "http://example.com/".ljust(2048, "a")
    vet(url, allow_private="none")
    for allow_private in PRIVATE_ADDRESSES:
        with pytest.raises(InputForbidden, match="2048"):
            vet(url + "a", allow_private=allow_private)


@pytest.mark.parametrize("port", [22, 25, 3306, 6379, 7999, 9000])
def test_a_port_other_than_80_and_443_needs_the_settings_permission(port: int) -> None:
    with pytest.raises(InputForbidden, match="port"):
        vet(f"http://example.com:{port}/", allow_private="none")
    with pytest.raises(InputForbidden, match="port"):
        vet(f"http://127.0.0.1:{port}/", allow_private="loopback")
    vet(f"http://example.com:{port}/", allow_private="all")


# --- redirects ---


@pytest.mark.parametrize("status", ["301 a", "302 b", "303 c", "307 d", "308 e"])
def test_a_redirect_is_followed(origin: Origin, fetcher: Fetcher, status: str) -> None:
    origin.answers["/a/b"] = http(status, b"", "Location: ../photo.jpg")
    assert get(fetcher, origin.url("/a/b")) == PHOTO


@pytest.mark.parametrize(
    ("location", "asked"),
    [
        ("/été.jpg".encode(), "/%C3%A9t%C3%A9.jpg"),
        ("/été.jpg".encode("latin-1"), "/%E9t%E9.jpg"),
        ("/写真/1.jpg?q=ü".encode(), "/%E5%86%99%E7%9C%9F/1.jpg?q=%C3%BC"),
        (b"/a b.jpg", "/a%20b.jpg"),
        (b"/a%20b.jpg", "/a%20b.jpg"),
        ("relative\u00a0é.jpg".encode(), "/relative%C2%A0%C3%A9.jpg"),
    ],
)
def test_a_redirect_with_raw_bytes_requests_the_path_that_a_browser_would(
    origin: Origin, fetcher: Fetcher, location: bytes, asked: str
) -> None:
    origin.answers["/start"] = (
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n"
    )
    origin.answers[asked] = http("200 OK", b"photo")
    assert get(fetcher, origin.url("/start")) == b"photo"


def test_three_redirects_are_followed_and_a_fourth_is_not(origin: Origin, fetcher: Fetcher) -> None:
    for here, there in itertools.pairwise(["/4", "/3", "/2", "/1", "/photo.jpg"]):
        origin.answers[here] = http("302 Found", b"", f"Location: {there}")
    assert get(fetcher, origin.url("/3")) == PHOTO
    with pytest.raises(InputForbidden, match="more than 3"):
        get(fetcher, origin.url("/4"))


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "http://169.254.169.254/latest/meta-data",
        "http://user:pass@127.0.0.1/",
        "http://[::ffff:169.254.169.254]/",
        "http://[::1",
        "//0/",
    ],
)
def test_a_redirect_to_a_refused_address_is_refused(
    origin: Origin, fetcher: Fetcher, location: str
) -> None:
    origin.answers["/a"] = http("302 Found", b"", f"Location: {location}")
    with pytest.raises(InputForbidden):
        get(fetcher, origin.url("/a"))


def test_a_redirect_to_nowhere_is_not_found(origin: Origin, fetcher: Fetcher) -> None:
    origin.answers["/a"] = http("302 Found")
    with pytest.raises(InputNotFound):
        get(fetcher, origin.url("/a"))


# --- what comes back ---


@pytest.mark.parametrize("status", ["204 No Content", "206 Partial Content", "304 Not Modified"])
@pytest.mark.parametrize("secret", [b"", b"the upstream's secret"])
def test_only_200_is_a_photo(origin: Origin, fetcher: Fetcher, status: str, secret: bytes) -> None:
    origin.answers["/a"] = http(status, secret)
    with pytest.raises(InputNotFound):
        get(fetcher, origin.url("/a"))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 406, 410, 451])
def test_an_error_has_the_status_and_no_text_of_the_server(
    origin: Origin, fetcher: Fetcher, status: int
) -> None:
    origin.answers["/a"] = http(f"{status} hush", b"hush", "X-Hush: hush")
    with pytest.raises(InputNotFound) as caught:
        get(fetcher, origin.url("/a"))
    assert str(status) in caught.value.detail
    assert "hush" not in str(caught.value.problem())


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 520, 599])
def test_a_server_that_is_overloaded_or_broken_is_a_passing_fault(
    origin: Origin, fetcher: Fetcher, status: int
) -> None:
    origin.answers["/a"] = http(f"{status} hush", b"hush", "Retry-After: 1")
    with pytest.raises(InputUnreachable, match=str(status)) as caught:
        get(fetcher, origin.url("/a"))
    assert (caught.value.code, caught.value.retryable) == ("input-timeout", True)
    assert "hush" not in str(caught.value.problem())


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 20",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhush",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhu",
    ],
)
def test_a_connection_that_ends_too_early_is_a_passing_fault(
    origin: Origin, fetcher: Fetcher, answer: bytes
) -> None:
    origin.answers["/a"] = answer
    with pytest.raises(InputUnreachable, match="closed the connection") as caught:
        get(fetcher, origin.url("/a"))
    assert "hush" not in str(caught.value.problem())


@pytest.mark.parametrize(
    "answer",
    [
        b"hush this is no HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nhush\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhush!",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhush\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"hush" * 100_000,
    ],
)
def test_a_broken_response_is_not_found_and_its_content_is_not_shown(
    origin: Origin, fetcher: Fetcher, answer: bytes
) -> None:
    origin.answers["/a"] = answer
    with pytest.raises(InputNotFound) as caught:
        get(fetcher, origin.url("/a"))
    assert "hush" not in str(caught.value.problem())


def test_a_body_of_exactly_the_cap_is_accepted_and_one_byte_more_is_not(
    origin: Origin, fetcher: Fetcher
) -> None:
    url = origin.url("/photo.jpg")
    assert get(fetcher, url, max_bytes=len(PHOTO)) == PHOTO
    with pytest.raises(InputTooLarge):
        get(fetcher, url, max_bytes=len(PHOTO) - 1)


def test_a_body_with_too_large_a_length_is_refused_before_it_arrives(
    origin: Origin, fetcher: Fetcher
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000001\r\n\r\n"
    origin.answers["/a"] = lambda: itertools.chain([head], origin.drip())
    with pytest.raises(InputTooLarge):
        get(fetcher, origin.url("/a"), max_bytes=1_000_000, timeout_s=5)


def test_a_body_that_never_ends_is_cut_off_at_the_cap(origin: Origin, fetcher: Fetcher) -> None:
    def endless() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n\r\n"
        yield from itertools.repeat(b"x" * 65_536)

    origin.answers["/a"] = endless
    with pytest.raises(InputTooLarge):
        get(fetcher, origin.url("/a"))


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",  # then the body drips
        b"HTTP/1.1 200 OK\r\nX: ",  # a header drips
        b"",  # the status line drips
    ],
)
def test_a_slow_server_is_limited_by_the_deadline_of_the_whole_fetch(
    origin: Origin, fetcher: Fetcher, head: bytes
) -> None:
    origin.answers["/a"] = lambda: itertools.chain([head], origin.drip())
    with pytest.raises(InputTimeout):
        get(fetcher, origin.url("/a"), timeout_s=SOON_S)


def test_a_body_below_the_minimum_rate_is_given_up(
    origin: Origin, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "RATE_PERIOD_S", 0.2)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
    origin.answers["/a"] = lambda: itertools.chain([head + bytes(5000)], origin.drip())
    with pytest.raises(InputTimeout, match="too slowly"):
        fetcher.get(origin.url("/a"), max_bytes=10**6, timeout_s=60, min_bytes_per_s=1000)


def test_a_body_with_the_minimum_rate_may_take_long(
    origin: Origin, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "RATE_PERIOD_S", 0.2)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n"
    pieces = lambda: itertools.islice(origin.drip(bytes(1000)), 50)  # noqa: E731
    origin.answers["/a"] = lambda: itertools.chain([head], pieces())
    got = fetcher.get(origin.url("/a"), max_bytes=10**6, timeout_s=60, min_bytes_per_s=100)
    assert got == bytes(50_000)


@pytest.mark.parametrize("piece", [b"HTTP/1.1 103 Early Hints\r\n\r\n", b"x"])
def test_a_head_that_does_not_come_to_an_end_has_a_limit_of_its_own(
    origin: Origin, fetcher: Fetcher, piece: bytes
) -> None:
    origin.answers["/a"] = lambda: itertools.chain([b"HTTP/1.1 103 X\r\nX: "], origin.drip(piece))
    with pytest.raises(InputTimeout):
        fetcher.get(origin.url("/a"), max_bytes=10**6, timeout_s=60, head_s=SOON_S)


def test_interim_responses_without_end_are_refused(origin: Origin, fetcher: Fetcher) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000
    origin.answers["/a"] = lambda: itertools.repeat(hints)
    with pytest.raises(InputNotFound, match="head"):
        get(fetcher, origin.url("/a"), timeout_s=60)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b""])
def test_a_fetch_can_be_stopped_while_the_server_is_slow(
    origin: Origin, fetcher: Fetcher, head: bytes
) -> None:
    def stop() -> None:
        if origin.requests:
            raise JobCanceled

    origin.answers["/a"] = lambda: itertools.chain([head], origin.drip(b""))
    with pytest.raises(JobCanceled):
        fetcher.get(origin.url("/a"), max_bytes=10**6, timeout_s=60, check=stop)


def test_redirects_share_the_deadline(origin: Origin, fetcher: Fetcher) -> None:
    def slow_redirect() -> Iterator[bytes]:
        time.sleep(SOON_S * 0.6)
        yield http("302 Found", b"", "Location: /a")

    origin.answers["/a"] = slow_redirect
    with pytest.raises(InputTimeout):
        get(fetcher, origin.url("/a"), timeout_s=SOON_S)


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip", "nonsense"])
def test_a_compressed_body_is_refused(origin: Origin, fetcher: Fetcher, encoding: str) -> None:
    bomb = gzip.compress(bytes(10_000_000))
    origin.answers["/a"] = http("200 OK", bomb, f"Content-Encoding: {encoding}")
    with pytest.raises(InputNotFound, match="compressed"):
        get(fetcher, origin.url("/a"))
    assert "Accept-Encoding: identity\r\n" in origin.requests[0]


def test_bodies_that_look_compressed_come_as_they_are(origin: Origin, fetcher: Fetcher) -> None:
    packed = gzip.compress(PHOTO)
    origin.answers["/a"] = http("200 OK", packed, "Content-Encoding: identity")
    assert get(fetcher, origin.url("/a")) == packed


def test_a_request_reveals_nothing_but_its_address(origin: Origin, fetcher: Fetcher) -> None:
    origin.answers["/gr%C3%B6%C3%9Fe.jpg?a=%20b"] = http("200 OK", b"x")
    get(fetcher, origin.url("/größe.jpg?a=%20b#part"))
    names = {line.split(":")[0] for line in origin.requests[0].strip().split("\r\n")[1:]}
    assert names == {"Host", "User-Agent", "Accept", "Accept-Encoding", "Connection"}
