"""What a reverse proxy says of a request: believed from trusted addresses only."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from shared.errors import MalformedRequest, SettingsInvalid
from shared.settings import Settings

_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?", re.ASCII)
_FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PREFIX", "HTTP_X_FORWARDED_PROTO")


class Proxies:
    """``trusted_proxies`` and ``api_prefix`` of the settings. Raises SettingsInvalid."""

    def __init__(self, settings: Settings) -> None:
        self._prefix = settings.api_prefix.rstrip("/")
        if not _PREFIX.fullmatch(self._prefix):
            raise SettingsInvalid(
                f"FACEMEND_API_PREFIX (or SCRIPT_NAME): {self._prefix} is not a path like /photos"
            )
        try:
            self._trusted = [ipaddress.ip_network(each) for each in settings.trusted_proxies]
        except ValueError as error:
            raise SettingsInvalid(f"FACEMEND_TRUSTED_PROXIES: {error}") from None

    def apply(self, environ: dict[str, Any]) -> None:
        """Put the client's address, the scheme and the path prefix into a WSGI environment.

        Raises MalformedRequest for a prefix that is no path.
        """
        said = {name: environ.pop(name, "") for name in _FORWARDED}
        prefix = self._prefix
        if self._trusts(environ["REMOTE_ADDR"]):
            client, proto, told = (
                said[name].rpartition(",")[2].strip()
                for name in (
                    "HTTP_X_FORWARDED_FOR",
                    "HTTP_X_FORWARDED_PROTO",
                    "HTTP_X_FORWARDED_PREFIX",
                )
            )
            environ["REMOTE_ADDR"] = client or environ["REMOTE_ADDR"]
            environ["wsgi.url_scheme"] = "https" if proto.lower() == "https" else "http"
            if not _PREFIX.fullmatch(told):
                raise MalformedRequest("X-Forwarded-Prefix is no path.")
            prefix = told.rstrip("/") or prefix
        path = environ["PATH_INFO"]
        if prefix and (path == prefix or path.startswith(f"{prefix}/")):
            environ["PATH_INFO"] = path.removeprefix(prefix)  # a proxy may leave it there
        environ["SCRIPT_NAME"] = prefix

    def _trusts(self, address: str) -> bool:
        if not self._trusted:
            return False
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self._trusted)
