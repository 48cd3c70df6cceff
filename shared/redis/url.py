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
}
#: Celery's spelling of ``ssl_cert_reqs`` → redis-py's.
_CERT_REQS = {"CERT_NONE": "none", "CERT_OPTIONAL": "optional", "CERT_REQUIRED": "required"}
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """``address`` is ``host:port``, or the path of a unix socket."""

    scheme: str
    address: str
    username: str
    password: str
    db: int
    options: Mapping[str, str]

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Read the settings.

        Raises SettingsInvalid for a URL that cannot work. It recognises a password that is not
        percent-encoded, because the text after its ``/``, ``?`` or ``#`` is not valid there.
        """
        try:
            parts = urlsplit(settings.redis_url.get_secret_value())
            port = parts.port or 6379
        except ValueError:
            raise _invalid("the port is not a number from 1 to 65535" + _ENCODE) from None
        scheme = _SCHEMES.get(parts.scheme)
        if scheme is None:
            raise _invalid("it must begin with redis://, rediss:// (TLS) or unix:// (a socket)")
        if parts.fragment:
            raise _invalid("it must not contain a #" + _ENCODE)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if any("@" in text for text in (parts.path, *options)):
            raise _invalid("the host is missing" + _ENCODE)
        if scheme == "unix":
            address, db = _socket(parts), options.pop("db", options.pop("virtual_host", "0"))
        else:
            address = f"{parts.hostname and _bracketed(parts.hostname)}:{port}"
            db = options.pop("db", "") or parts.path.strip("/") or "0"
        if not parts.hostname and scheme != "unix":
            raise _invalid("the host is missing")
        if not (db.isascii() and db.isdecimal()):
            raise _invalid("after the host there must be the number of a database" + _ENCODE)
        own = settings.redis_password
        return cls(
            scheme,
            address,
            unquote(parts.username or ""),
            unquote(parts.password or "") if own is None else own.get_secret_value(),
            int(db),
            _checked(options),
        )

    @property
    def for_redis_py(self) -> str:
        """The URL for ``redis.Redis.from_url``."""
        if self.scheme == "unix":
            path = f"{self._credentials}{quote(self.address)}"
            return f"unix://{path}?{urlencode({'db': self.db, **self.options})}"
        query = f"?{urlencode(self.options)}" if self.options else ""
        return f"{self.scheme}://{self._credentials}{self.address}/{self.db}{query}"

    @property
    def for_kombu(self) -> str:
        """The URL for Celery. It knows only the options of TLS."""
        if self.scheme == "unix":
            path = f"{self._credentials}{quote(self.address)}"
            return f"redis+socket://{path}?virtual_host={self.db}"
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
    for name in _FILES:
        if name in options and not Path(options[name]).is_file():
            raise _invalid(f"{name} is not a file: {options[name]}")
    return options
