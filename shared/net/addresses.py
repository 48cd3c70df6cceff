"""Which internet addresses a URL of a client may lead to. Pure functions and one table.

``is_global`` of ``ipaddress`` differs between Python versions and accepts addresses that must be
refused (6to4, NAT64, some metadata services). So this module lists every range, after the IANA
special-purpose registries (RFC 6890, as of 2025).
"""

from __future__ import annotations

import re
import socket
import unicodedata
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from shared.errors import InputForbidden
from shared.settings import PrivateAddresses

Address = IPv4Address | IPv6Address

#: Allowed only if the settings allow private addresses.
PRIVATE_V4 = tuple(
    IPv4Network(network)
    for network in (
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
    )
)
PRIVATE_V6 = tuple(IPv6Network(network) for network in ("::1/128", "fc00::/7"))

#: Never allowed.
METADATA = frozenset(
    {
        IPv4Address("169.254.169.254"),
        IPv4Address("169.254.170.2"),
        IPv4Address("100.100.100.200"),  # Alibaba
        IPv4Address("192.0.0.192"),  # Oracle
        IPv4Address("168.63.129.16"),  # Azure, a public address
        IPv6Address("fd00:ec2::254"),  # AWS
        IPv6Address("fd20:ce::254"),  # Google
    }
)
RESERVED_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "169.254.0.0/16",  # link-local
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
#: IPv6 addresses outside of this range are refused, and those in ``RESERVED_V6``.
GLOBAL_V6 = IPv6Network("2000::/3")
RESERVED_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: holds an IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
NAT64 = IPv6Network("64:ff9b::/96")
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)  # upper half of the interface id, IPv4 in the lower half

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_WRITTEN_V4 = re.compile(r"[0-9a-fx.]+")  # inet_aton also accepts blanks and the text after them
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
#: Names that never mean a public host (RFC 6761, RFC 6762, RFC 8375, ICANN's ``internal``).
_LOCAL_DOMAINS = frozenset({"localhost", "local", "localdomain", "internal", "intranet", "lan"})


def literal(host: str) -> Address | None:
    """Return the address that ``host`` is, None if it is a name.

    Accepts every notation of ``getaddrinfo``: ``127.1``, ``2130706433``, ``0x7f000001``,
    ``0177.0.0.1``, ``::ffff:127.0.0.1``, a zone id; and other digits and dots, as IDNA does.
    """
    plain = unicodedata.normalize("NFKC", host).replace("\u3002", ".").lower().removesuffix(".")
    try:
        if ":" in plain:
            return IPv6Address(plain)
        return IPv4Address(socket.inet_aton(plain)) if _WRITTEN_V4.fullmatch(plain) else None
    except (OSError, ValueError):
        return None


def check_address(address: Address, *, allow_private: PrivateAddresses) -> None:
    """Raises InputForbidden if a URL of a client must not lead to ``address``.

    ``allow_private`` names the addresses that are allowed beside public ones.
    """
    address = _unwrap(address)
    if address in METADATA or _is_reserved(address):
        raise InputForbidden("The address is reserved and never used")
    if allow_private == "all" or (allow_private == "loopback" and address.is_loopback):
        return
    if _is_private(address):
        allowed = (
            "public addresses and loopback" if allow_private == "loopback" else "public addresses"
        )
        raise InputForbidden(f"The address is private; only {allowed} are allowed")


def check_name(name: str, *, allow_private: PrivateAddresses) -> None:
    """Raises InputForbidden unless the ASCII ``name`` can be a name of the public DNS.

    ``loopback`` also allows ``localhost`` and names below it; ``all`` allows every local name.
    """
    labels = name.removesuffix(".").split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise InputForbidden("The address's host name is not valid")
    if _NUMBER.fullmatch(labels[-1]):
        # No top-level domain is a number. This is a malformed address, which another resolver may
        # accept (WHATWG URL, "ends in a number").
        raise InputForbidden("The address's host is neither a name nor an address")
    if allow_private == "all" or (allow_private == "loopback" and labels[-1] == "localhost"):
        return
    if len(labels) == 1 or labels[-1] in _LOCAL_DOMAINS:
        allowed = "public hosts and localhost" if allow_private == "loopback" else "public hosts"
        raise InputForbidden(f"The address's host name is local; only {allowed} are allowed")


def _unwrap(address: Address) -> Address:
    """Return the IPv4 address in an IPv4-mapped or NAT64 one, since packets go there."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _is_private(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return any(address in network for network in PRIVATE_V4)
    return any(address in network for network in PRIVATE_V6)


def _is_reserved(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return any(address in network for network in RESERVED_V4)
    if address.scope_id is not None:
        return True
    if _is_private(address):
        return False
    isatap = (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP
    return isatap or address not in GLOBAL_V6 or any(address in net for net in RESERVED_V6)
