from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator

import pytest
import trustme

from shared.errors import InputForbidden, InputNotFound, InputTimeout, InputUnreachable
from shared.net.fetcher import Fetcher
from tests.origin import Origin, ScriptedResolver, http

PHOTO = b"photo"
SOON_S = 0.2


@pytest.fixture
def origin() -> Iterator[Origin]:
    server = Origin()
    server.answers["/photo.jpg"] = http("200 OK", PHOTO)
    yield server
    server.close()


def get(fetcher: Fetcher, url: str, *, max_bytes: int = 1_000_000, timeout_s: float = 10) -> bytes:
    return fetcher.get(url, max_bytes=max_bytes, timeout_s=timeout_s)


# --- where connections go ---


def test_a_private_address_is_never_connected_to(origin: Origin) -> None:
    with pytest.raises(InputForbidden):
        get(Fetcher(allow_private="none"), f"http://127.0.0.1:{origin.port}/photo.jpg")
    assert origin.requests == []


@pytest.mark.parametrize(
    "answers",
    [
        ["127.0.0.1"],
        ["93.184.216.34", "127.0.0.1"],
        ["127.0.0.1", "93.184.216.34"],
        ["::1"],
        ["fe80::1%eth0"],
        ["64:ff9b::7f00:1"],
        ["nonsense"],
    ],
)
def test_a_name_is_refused_if_one_of_its_addresses_is_refused(answers: list[str]) -> None:
    resolver = ScriptedResolver(photos_example=[answers])
    with pytest.raises(InputForbidden):
        get(Fetcher(allow_private="none", resolver=resolver), "http://photos.example/")


def test_a_name_is_resolved_once_and_the_connection_goes_to_the_checked_address(
    origin: Origin,
) -> None:
    resolver = ScriptedResolver(photos_example=[["127.0.0.1"], ["169.254.169.254"]])
    fetcher = Fetcher(allow_private="all", resolver=resolver)
    assert get(fetcher, origin.url("/photo.jpg", "photos.example")) == PHOTO
    assert resolver.asked == ["photos.example"]
    assert f"Host: photos.example:{origin.port}\r\n" in origin.requests[0]


def test_a_name_that_resolves_differently_after_a_redirect_is_checked_again(origin: Origin) -> None:
    origin.answers["/a"] = http("302 Found", b"", "Location: /photo.jpg")
    resolver = ScriptedResolver(photos_example=[["127.0.0.1"], ["169.254.169.254"]])
    fetcher = Fetcher(allow_private="all", resolver=resolver)
    with pytest.raises(InputForbidden):
        get(fetcher, origin.url("/a", "photos.example"))
    assert len(origin.requests) == 1


def test_the_next_address_is_tried_when_the_first_refuses(origin: Origin) -> None:
    resolver = ScriptedResolver(photos_example=[["127.0.0.2", "127.0.0.1"]])
    fetcher = Fetcher(allow_private="all", resolver=resolver)
    assert get(fetcher, origin.url("/photo.jpg", "photos.example")) == PHOTO


def test_an_unknown_name_is_not_found() -> None:
    with pytest.raises(InputNotFound):
        get(Fetcher(allow_private="all", resolver=ScriptedResolver()), "http://photos.example/")


def test_a_name_server_that_fails_is_a_passing_fault() -> None:
    class FailingResolver:
        def addresses(self, host: str, port: int) -> list[str]:
            raise socket.gaierror(socket.EAI_AGAIN, "try again")

    with pytest.raises(InputUnreachable) as caught:
        get(Fetcher(allow_private="all", resolver=FailingResolver()), "http://photos.example/")
    assert caught.value.retryable


def test_a_closed_port_is_a_passing_fault() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # and nobody listens
        with pytest.raises(InputUnreachable) as caught:
            get(Fetcher(allow_private="all"), f"http://127.0.0.1:{reserved.getsockname()[1]}/")
    assert (caught.value.code, caught.value.retryable) == ("input-timeout", True)


def test_a_name_server_that_hangs_ends_with_the_deadline() -> None:
    class HangingResolver:
        def __init__(self) -> None:
            self.free = threading.Event()

        def addresses(self, host: str, port: int) -> list[str]:
            self.free.wait()
            return []

    resolver = HangingResolver()
    with pytest.raises(InputTimeout):
        get(Fetcher(allow_private="all", resolver=resolver), "http://a.example/", timeout_s=SOON_S)
    resolver.free.set()


def test_the_proxy_of_the_environment_is_not_used(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert get(Fetcher(allow_private="all"), origin.url("/photo.jpg")) == PHOTO


# --- TLS ---


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls_origin(authority: trustme.CA) -> Iterator[Origin]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("photos.example").configure_cert(context)
    server = Origin(context)
    server.answers["/photo.jpg"] = http("200 OK", PHOTO)
    yield server
    server.close()


def test_tls_checks_the_name_while_the_connection_goes_to_the_address(
    tls_origin: Origin, authority: trustme.CA
) -> None:
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    names = ScriptedResolver(photos_example=[["127.0.0.1"]], other_example=[["127.0.0.1"]])
    fetcher = Fetcher(allow_private="all", resolver=names, ssl_context=trusting)
    assert get(fetcher, tls_origin.url("/photo.jpg", "photos.example")) == PHOTO
    with pytest.raises(InputNotFound):
        get(fetcher, tls_origin.url("/photo.jpg", "other.example"))


def test_a_certificate_of_an_unknown_authority_is_refused(tls_origin: Origin) -> None:
    fetcher = Fetcher(
        allow_private="all", resolver=ScriptedResolver(photos_example=[["127.0.0.1"]])
    )
    with pytest.raises(InputNotFound):
        get(fetcher, tls_origin.url("/photo.jpg", "photos.example"))
    assert tls_origin.requests == []


def test_a_server_that_hangs_up_in_the_tls_handshake_is_a_passing_fault(
    origin: Origin,
) -> None:
    def hang_up() -> None:
        opened, _ = listening.accept()
        opened.recv(1000)
        opened.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=hang_up)
        server.start()
        with pytest.raises(InputUnreachable):
            get(Fetcher(allow_private="all"), f"https://127.0.0.1:{listening.getsockname()[1]}/")
        server.join()


def test_a_server_without_tls_at_an_https_address_is_not_found(origin: Origin) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer_in_the_clear() -> None:
            opened, _ = listening.accept()
            with opened:
                opened.sendall(http("400 Bad Request"))
                opened.recv(1000)

        server = threading.Thread(target=answer_in_the_clear)
        server.start()
        with pytest.raises(InputNotFound):
            get(Fetcher(allow_private="all"), f"https://127.0.0.1:{listening.getsockname()[1]}/")
        server.join()


def test_a_tls_handshake_that_never_comes_ends_with_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(InputTimeout):
            get(Fetcher(allow_private="all"), url, timeout_s=SOON_S)
