"""Which internet addresses a customer may make us connect to. Pure; our own table.

``ipaddress``'s ``is_global`` differs between Python versions and passes addresses that must be
refused (6to4, NAT64, some metadata services), so every range is written down here, after the IANA
special-purpose registries (RFC 6890, as of 2025).
"""

from __future__ import annotations

import re
import socket
import unicodedata
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from shared.errors import InputForbidden

Address = IPv4Address | IPv6Address

#: Allowed only where the settings allow private addresses.
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
#: IPv6 is refused unless it is global unicast, and then if it is one of these.
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
_SPELT_V4 = re.compile(r"[0-9a-fx.]+")  # inet_aton would also take blanks and what follows them
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
#: Names that never mean a public host (RFC 6761, RFC 6762, RFC 8375, ICANN's ``internal``).
_LOCAL_DOMAINS = frozenset({"localhost", "local", "localdomain", "internal", "intranet", "lan"})


def literal(host: str) -> Address | None:
    """Return the address that ``host`` spells, None when it is a name.

    Knows what ``getaddrinfo`` knows: ``127.1``, ``2130706433``, ``0x7f000001``, ``0177.0.0.1``,
    ``::ffff:127.0.0.1``, a zone id; and, for it is what IDNA makes of them, other digits and dots.
    """
    plain = unicodedata.normalize("NFKC", host).replace("\u3002", ".").lower().removesuffix(".")
    try:
        if ":" in plain:
            return IPv6Address(plain)
        return IPv4Address(socket.inet_aton(plain)) if _SPELT_V4.fullmatch(plain) else None
    except (OSError, ValueError):
        return None


def check_address(address: Address, *, allow_private: bool) -> None:
    """Raise InputForbidden unless a customer may make us connect to ``address``."""
    address = _unwrap(address)
    if address in METADATA or _is_reserved(address):
        raise InputForbidden("The address is reserved and never fetched from")
    if not allow_private and _is_private(address):
        raise InputForbidden("The address is private; only public addresses are allowed")


def check_name(name: str, *, allow_private: bool) -> None:
    """Raise InputForbidden unless the ASCII ``name`` is one that public DNS could know."""
    labels = name.removesuffix(".").split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise InputForbidden("The address's host name is not valid")
    if _NUMBER.fullmatch(labels[-1]):
        # No top-level domain is a number: it is a misspelt address that another resolver might
        # read (WHATWG URL, "ends in a number").
        raise InputForbidden("The address's host is neither a name nor an address")
    if not allow_private and (len(labels) == 1 or labels[-1] in _LOCAL_DOMAINS):
        raise InputForbidden("The address's host name is local; only public hosts are allowed")


def _unwrap(address: Address) -> Address:
    """Return the IPv4 address inside an IPv4-mapped or NAT64 one: packets would go there."""
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
