from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.chaos.proxy import Proxy, Weather

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Echo:
    """Answers whatever it hears with the same; requests (HTTP) with ``_ANSWER``."""

    def __init__(self) -> None:
        self.heard = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65_536):
                    self.heard += data
                    connection.sendall(_ANSWER if b"HTTP/1.1" in data else data)
            except OSError:
                return


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    proxy = Proxy(echo.port, seed=1)
    yield proxy
    proxy.close()


def connect(proxy: Proxy) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    connection.settimeout(5)
    return connection


def say(connection: socket.socket, words: bytes) -> bytes:
    connection.sendall(words)
    return connection.recv(65_536)


def test_in_fine_weather_everything_passes(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        assert say(connection, b"one") == b"one"
        assert say(connection, b"two") == b"two"


def test_down_cuts_and_refuses_until_it_is_up_again_on_the_same_port(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        say(connection, b"one")
        proxy.down()
        with pytest.raises(ConnectionResetError):
            say(connection, b"two")
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.up()
    with connect(proxy) as connection:
        assert say(connection, b"three") == b"three"


def test_a_black_hole_takes_and_never_answers(proxy: Proxy, echo: Echo) -> None:
    with connect(proxy) as connection:
        say(connection, b"before")
        connection.settimeout(0.3)
        with proxy.bad(Weather(black_hole=True)), pytest.raises(TimeoutError):
            say(connection, b"swallowed")
    assert echo.heard == b"before"


def test_latency_delays_answers(proxy: Proxy) -> None:
    with connect(proxy) as connection, proxy.bad(Weather(latency_s=0.3)):
        started = time.monotonic()
        assert say(connection, b"slow") == b"slow"
        assert time.monotonic() - started >= 0.3


def test_bandwidth_is_held_down(proxy: Proxy) -> None:
    with connect(proxy) as connection, proxy.bad(Weather(bandwidth_bytes_s=10_000)):
        started = time.monotonic()
        connection.sendall(bytes(6000))
        left = 6000
        while left:
            got = connection.recv(65_536)
            assert got
            left -= len(got)
        assert time.monotonic() - started >= 0.4


def test_reset_cuts_whoever_speaks(proxy: Proxy) -> None:
    with (
        connect(proxy) as connection,
        proxy.bad(Weather(reset=True)),
        pytest.raises(ConnectionResetError),
    ):
        say(connection, b"hello")


def test_a_truncated_answer_ends_early(proxy: Proxy) -> None:
    with connect(proxy) as connection, proxy.bad(Weather(truncate_bytes=3)):
        assert say(connection, b"whole") == b"who"
        assert connection.recv(10) == b""


def test_busy_answers_without_asking_upstream(proxy: Proxy, echo: Echo) -> None:
    with connect(proxy) as connection, proxy.bad(Weather(busy_share=1.0)):
        assert say(connection, b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 503")
    assert echo.heard == b""
    assert proxy.faults == 1


def test_a_lost_answer_was_given_all_the_same(proxy: Proxy, echo: Echo) -> None:
    with (
        connect(proxy) as connection,
        proxy.bad(Weather(lost_answer_share=1.0)),
        pytest.raises(ConnectionResetError),
    ):
        say(connection, b"PUT /x HTTP/1.1\r\n\r\n")
    assert echo.heard.startswith(b"PUT /x")
    with connect(proxy) as connection:
        assert say(connection, b"GET /x HTTP/1.1\r\n\r\n") == _ANSWER


def test_the_same_seed_casts_the_same_dice(echo: Echo) -> None:
    def faults(seed: int) -> list[bool]:
        proxy = Proxy(echo.port, seed=seed)
        outcomes = []
        with proxy.bad(Weather(busy_share=0.5)):
            for _ in range(16):
                with connect(proxy) as connection:
                    outcomes.append(b"503" in say(connection, b"GET / HTTP/1.1\r\n\r\n"))
        proxy.close()
        return outcomes

    assert faults(7) == faults(7) != faults(8)
