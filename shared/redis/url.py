"""The address of Redis: ``FACEMEND_REDIS_URL`` in the spellings of redis-py and of kombu."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from shared.errors import SettingsInvalid
from shared.settings import Settings

_SCHEMES = {
    "redis": "redis",
    "valkey": "redis",
    "rediss": "rediss",
    "valkeys": "rediss",
    "unix": "unix",
    "redis+socket": "unix",  # Celery's spelling
    "redis+sentinel": "sentinel",
    "valkey+sentinel": "sentinel",
}
#: Options of a URL that are about the Sentinels and not about the server that they watch.
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
#: Celery's spelling of ``ssl_cert_reqs`` → redis-py's.
_CERT_REQS = {"CERT_NONE": "none", "CERT_OPTIONAL": "optional", "CERT_REQUIRED": "required"}
_SENTINEL_PORT = 26379
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
#: redis-py takes these as objects only; as text they fail at the first command.
_NO_TEXT = frozenset(
    {
        "ssl_min_version",
        "ssl_include_verify_flags",
        "ssl_exclude_verify_flags",
        "ssl_ocsp_context",
        "ssl_ocsp_expected_cert",
    }
)


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """``address`` is ``host:port``, the path of a unix socket, or the nodes of a Sentinel.

    Nodes are ``host:port,host:port``; ``service`` is the name under which they watch the server,
    and empty for the other schemes.
    """

    scheme: str
    address: str
    username: str
    password: str
    db: int
    options: Mapping[str, str]
    service: str = ""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Read the settings.

        Raises SettingsInvalid for a URL that cannot work. It recognises a password that is not
        percent-encoded, because the text after its ``/``, ``?`` or ``#`` is not valid there.
        """
        text = settings.redis_url.get_secret_value()
        if _SCHEMES.get(text.partition("://")[0].lower()) == "sentinel":
            return cls._of_sentinel(text, settings)
        return cls._of_server(text, settings)

    @classmethod
    def _of_server(cls, text: str, settings: Settings) -> Self:
        """``redis://user:password@host:port/db?…``, or a socket."""
        try:
            parts = urlsplit(text)
            port = parts.port or 6379
        except ValueError:
            raise _invalid("the port is not a number from 1 to 65535" + _ENCODE) from None
        scheme = _SCHEMES.get(parts.scheme)
        if scheme is None:
            raise _invalid(
                "it must begin with redis://, rediss:// (TLS), unix:// (a socket) or redis+sentinel://"
            )
        if parts.fragment:
            raise _invalid("it must not contain a #" + _ENCODE)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if any("@" in text for text in (parts.path, *options)) or " " in parts.netloc:
            raise _invalid("the host is not valid" + _ENCODE)
        if scheme == "unix":
            address, db = _socket(parts), options.pop("db", options.pop("virtual_host", "0"))
        else:
            address = f"{_bracketed(parts.hostname or 'localhost')}:{port}"
            db = options.pop("db", "") or parts.path.strip("/") or "0"
        if not _is_number(db):
            raise _invalid("after the host there must be the number of a database" + _ENCODE)
        # redis-py also accepts both as options.
        username, password = options.pop("username", ""), options.pop("password", "")
        own = settings.redis_password
        return cls(
            scheme,
            address,
            unquote(parts.username or "") or username,
            (unquote(parts.password or "") or password) if own is None else own.get_secret_value(),
            int(db),
            _checked(options),
        )

    @classmethod
    def _of_sentinel(cls, text: str, settings: Settings) -> Self:
        """``redis+sentinel://user:password@host:port,host:port/service/db?sentinel_password=…``."""
        _, _, rest = text.partition("://")
        path, _, query = rest.partition("?")
        credentials, _, path = path.rpartition("@")
        nodes, _, place = path.partition("/")
        service, _, db = place.strip("/").partition("/")
        if "#" in text or "@" in query:
            raise _invalid("it must not contain a # or a second @" + _ENCODE)
        if not service:
            raise _invalid(
                "the name of the service is missing: redis+sentinel://host:26379,host:26379/name/0"
            )
        if not _is_number(db or "0"):
            raise _invalid("after the service there must be the number of a database" + _ENCODE)
        username, _, password = credentials.partition(":")
        own = settings.redis_password
        return cls(
            "sentinel",
            ",".join(_node(node) for node in nodes.split(",")),
            unquote(username),
            unquote(password) if own is None else own.get_secret_value(),
            int(db or "0"),
            _checked(dict(parse_qsl(query, keep_blank_values=True))),
            unquote(service),
        )

    @property
    def nodes(self) -> list[tuple[str, int]]:
        """Host and port of each Sentinel; empty for the other schemes."""
        if self.scheme != "sentinel":
            return []
        parts = [urlsplit(f"//{node}") for node in self.address.split(",")]
        return [(part.hostname or "", part.port or _SENTINEL_PORT) for part in parts]

    @property
    def sentinel_credentials(self) -> dict[str, str]:
        """Arguments of a connection to a Sentinel itself."""
        return {
            name.removeprefix("sentinel_"): self.options[name]
            for name in _SENTINEL_OPTIONS
            if name in self.options
        }

    @property
    def for_redis_py(self) -> str:
        """The URL for ``redis.Redis.from_url``; of a Sentinel, that of the server without place."""
        if self.scheme == "unix":
            path = f"{self._credentials}{quote(self.address)}"
            return f"unix://{path}?{urlencode({'db': self.db, **self.options})}"
        options = {n: value for n, value in self.options.items() if n not in _SENTINEL_OPTIONS}
        query = f"?{urlencode(options)}" if options else ""
        if self.scheme == "sentinel":
            return f"redis://{self._credentials}sentinel/{self.db}{query}"
        return f"{self.scheme}://{self._credentials}{self.address}/{self.db}{query}"

    @property
    def for_kombu(self) -> str:
        """The URL for Celery. It knows only the options of TLS."""
        if self.scheme == "unix":
            path = f"{self._credentials}{quote(self.address)}"
            return f"redis+socket://{path}?virtual_host={self.db}"
        if self.scheme == "sentinel":
            first, *others = self.address.split(",")
            rest = "".join(f";sentinel://{node}" for node in others)
            return f"sentinel://{self._credentials}{first}/{self.db}{rest}"
        options = {name: value for name, value in self.options.items() if name.startswith("ssl_")}
        query = f"?{urlencode(options)}" if options else ""
        return f"{self.scheme}://{self._credentials}{self.address}/{self.db}{query}"

    @property
    def _credentials(self) -> str:
        if not (self.username or self.password):
            return ""
        return f"{quote(self.username, safe='')}:{quote(self.password, safe='')}@"


_ENCODE = "; percent-encode the password, or give it as FACEMEND_REDIS_PASSWORD"


def _invalid(detail: str) -> SettingsInvalid:
    return SettingsInvalid(f"FACEMEND_REDIS_URL: {detail}")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _node(text: str) -> str:
    """Check ``host:port`` of a Sentinel, and add the port if it is missing."""
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port or _SENTINEL_PORT
    except ValueError:
        raise _invalid("the port of a Sentinel is not a number from 1 to 65535" + _ENCODE) from None
    if not parts.hostname:
        raise _invalid("the host of a Sentinel is missing")
    return f"{_bracketed(parts.hostname)}:{port}"


def _socket(parts: SplitResult) -> str:
    if parts.hostname or not parts.path.strip("/"):
        raise _invalid("a socket is given as unix:///path/to/redis.sock")
    return unquote(parts.path)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _checked(options: dict[str, str]) -> dict[str, str]:
    """Return the options in redis-py's spelling. Raises SettingsInvalid for a missing file."""
    if "ssl_cert_reqs" in options:
        given = options["ssl_cert_reqs"]
        options["ssl_cert_reqs"] = _CERT_REQS.get(given, given)
    for name in _NO_TEXT & options.keys():
        raise _invalid(f"{name} cannot be given in a URL")
    for name in _FILES:
        if name in options and not Path(options[name]).is_file():
            raise _invalid(f"{name} is not a file: {options[name]}")
    return options
