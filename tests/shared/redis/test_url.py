"""The address of Redis: each valid form reaches a real server; others are clear errors."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme
from pydantic import SecretStr
from redis.exceptions import RedisError

from deploy.embedded.valkey import valkey_binary
from shared.errors import SettingsInvalid
from shared.jobs.job import Priority
from shared.jobs.queues import QueueName
from shared.queue.celery_queue import Doorbell, make_celery
from shared.redis.client import connect
from shared.settings import Settings
from tests.waiting import eventually

PASSWORD = 'p@ss/w#r:d%2B? x"\\'


@dataclass(frozen=True)
class Server:
    port: int
    tls_port: int
    socket: Path
    ca: Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Valkey on a port, behind TLS and on a socket, with a password of special characters."""
    folder = tmp_path_factory.mktemp("redis")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    escaped = PASSWORD.replace("\\", "\\\\").replace('"', '\\"')
    config = folder / "redis.conf"
    config.write_text(
        f'bind 127.0.0.1\nport {port}\nrequirepass "{escaped}"\ndir {folder}\nsave ""\n'
        f"unixsocket {folder}/v.sock\n"
    )
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with (
        subprocess.Popen([valkey_binary(), config], stdout=subprocess.DEVNULL) as process,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        threading.Thread(target=_serve_tls, args=(listener, context, port), daemon=True).start()
        eventually((folder / "v.sock").exists)
        yield Server(port, listener.getsockname()[1], folder / "v.sock", folder / "ca.pem")
        process.terminate()


def _serve_tls(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    """Decrypt each connection and forward it: the server in the package has no TLS."""
    while True:
        try:
            plain, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_serve_one, args=(plain, context, port), daemon=True).start()


def _serve_one(plain: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with (
        suppress(OSError),
        plain,
        context.wrap_socket(plain, server_side=True) as client,
        socket.create_connection(("127.0.0.1", port)) as redis,
    ):
        back = threading.Thread(target=_forward, args=(redis, client), daemon=True)
        back.start()
        _forward(client, redis)
        back.join()


def _forward(here: socket.socket, there: socket.socket) -> None:
    with suppress(OSError):
        while piece := here.recv(65_536):
            there.sendall(piece)
    with suppress(OSError):
        there.shutdown(socket.SHUT_WR)


def settings_for(url: str, password: str | None = None) -> Settings:
    secret = None if password is None else SecretStr(password)
    return Settings(_env_file=None, redis_url=SecretStr(url), redis_password=secret)


ENCODED = quote(PASSWORD, safe="")


@pytest.mark.parametrize(
    "url",
    [
        "redis://:{password}@127.0.0.1:{port}/0",
        "redis://:{password}@127.0.0.1:{port}",
        "redis://default:{password}@localhost:{port}/3",
        "valkey://:{password}@127.0.0.1:{port}/?db=2",
        "redis://:{password}@127.0.0.1:{port}/0?protocol=2&client_name=me",
        "redis://127.0.0.1:{port}/0?username=default&password={password}",
        "redis://:{password}@:{port}/0",
        "unix://:{password}@{socket}?db=1",
        "unix://{socket}?db=1&password={password}",
        "unix://default:{password}@{socket}",
        "redis+socket://:{password}@{socket}?virtual_host=1",
        "rediss://:{password}@127.0.0.1:{tls_port}/0?ssl_ca_certs={ca}",
        "rediss://:{password}@127.0.0.1:{tls_port}/0?ssl_cert_reqs=none",
        "rediss://:{password}@localhost:{tls_port}/0?ssl_ca_certs={ca}&ssl_check_hostname=false",
        "rediss://:{password}@127.0.0.1:{tls_port}/0?ssl_ca_path={ca.parent}&ssl_cert_reqs=none",
        "rediss://:{password}@127.0.0.1:{tls_port}/0?ssl_cert_reqs=CERT_NONE",
        "valkeys://:{password}@127.0.0.1:{tls_port}/0?ssl_ca_certs={ca}&ssl_cert_reqs=CERT_REQUIRED",
    ],
)
def test_jobs_and_doorbells_reach_redis_by_each_form_of_its_address(
    server: Server, url: str
) -> None:
    settings = settings_for(url.format(password=ENCODED, **vars(server)))
    client = connect(settings)
    assert client.ping()
    doorbell = Doorbell(make_celery(settings, role="api"))
    client.delete("restore.starter.normal")
    doorbell.ring("job_1", QueueName("starter", Priority.NORMAL))
    assert client.llen("restore.starter.normal") == 1


def test_a_password_in_its_own_setting_needs_no_encoding(server: Server) -> None:
    settings = settings_for(f"redis://127.0.0.1:{server.port}/0", PASSWORD)
    assert connect(settings).ping()
    Doorbell(make_celery(settings, role="api")).ring("job_1", QueueName("starter", Priority.LOW))
    with pytest.raises(RedisError):
        connect(settings_for(f"redis://127.0.0.1:{server.port}/0", "wrong")).ping()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "must begin with redis://"),
        ("127.0.0.1:6379", "must begin with redis://"),
        ("localhost", "must begin with redis://"),
        ("http://127.0.0.1:6379/0", "must begin with redis://"),
        ("sentinel://127.0.0.1:26379/0", "must begin with redis://"),
        ("redis://127.0.0.1 :6379/0", "the host is not valid"),
        ("redis://:secret@ 127.0.0.1/0", "the host is not valid"),
        ("redis://:p@ss/w#r:d@127.0.0.1:6379/0", "percent-encode the password"),
        ("redis://:p@ss/word@127.0.0.1:6379/0", "percent-encode the password"),
        ("redis://:p@ss?word@127.0.0.1:6379/0", "percent-encode the password"),
        ("redis://:pass#word@127.0.0.1:6379/0", "percent-encode the password"),
        ("redis://:pass/word@127.0.0.1:6379/0", "percent-encode the password"),
        ("redis://127.0.0.1:port/0", "port is not a number"),
        ("redis://127.0.0.1:99999/0", "port is not a number"),
        ("redis://127.0.0.1:6379/main", "number of a database"),
        ("redis://127.0.0.1:6379/0?no_such_option=1", "an option is wrong"),
        ("redis://127.0.0.1:6379/0?socket_timeout=soon", "an option is wrong"),
        ("rediss://127.0.0.1:6379/0?ssl_cert_reqs=maybe", "an option is wrong"),
        ("rediss://127.0.0.1:6379/0?ssl_min_version=771", "cannot be given in a URL"),
        ("rediss://127.0.0.1:6379/0?ssl_ca_certs=/no/such.pem", "ssl_ca_certs is not a file"),
        ("unix://", "unix:///path/to/redis.sock"),
        ("unix://run/redis.sock", "unix:///path/to/redis.sock"),
    ],
)
def test_the_refusal_of_another_address_names_the_variable(url: str, words: str) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        connect(settings_for(url))
    assert refused.value.detail.startswith("FACEMEND_REDIS_URL: ")
    assert words in refused.value.detail
    assert "p@ss" not in refused.value.detail
