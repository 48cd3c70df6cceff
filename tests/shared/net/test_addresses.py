from __future__ import annotations

from ipaddress import ip_address

import pytest

from shared.errors import InputForbidden
from shared.net.addresses import check_address, check_name, literal
from shared.settings import PRIVATE_ADDRESSES, PrivateAddresses

PRIVATE = [
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "::1",
    "fc00::1",
    "fdff::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::10.1.2.3",
]
RESERVED = [
    "0.0.0.0",
    "0.1.2.3",
    "100.100.100.200",
    "168.63.129.16",
    "169.254.1.1",
    "169.254.169.254",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:0:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:2::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::",
    "2606:4700::5efe:7f00:1",
    "2606:4700::200:5efe:a00:1",
    "2606:4700::1111%eth0",
    "3fff::1",
    "5f00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "223.255.255.255",
    "2606:4700::1111",
    "2a00:1450:4001::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_needs_the_settings_permission(address: str) -> None:
    with pytest.raises(InputForbidden):
        check_address(ip_address(address), allow_private="none")
    check_address(ip_address(address), allow_private="all")


@pytest.mark.parametrize("address", RESERVED)
@pytest.mark.parametrize("allow_private", PRIVATE_ADDRESSES)
def test_a_reserved_address_is_refused_whatever_the_settings_say(
    address: str, allow_private: PrivateAddresses
) -> None:
    with pytest.raises(InputForbidden):
        check_address(ip_address(address), allow_private=allow_private)


@pytest.mark.parametrize("address", PRIVATE)
def test_loopback_allows_loopback_addresses_only(address: str) -> None:
    if ip_address(address).is_loopback or address.endswith(":127.0.0.1"):
        check_address(ip_address(address), allow_private="loopback")
    else:
        with pytest.raises(InputForbidden, match="only public addresses and loopback are allowed"):
            check_address(ip_address(address), allow_private="loopback")


@pytest.mark.parametrize(
    ("name", "allowed"),
    [("localhost", True), ("a.localhost.", True), ("redis", False), ("nas.local", False)],
)
def test_loopback_allows_names_of_loopback_only(name: str, allowed: bool) -> None:
    if allowed:
        check_name(name, allow_private="loopback")
    else:
        with pytest.raises(InputForbidden, match="only public hosts and localhost are allowed"):
            check_name(name, allow_private="loopback")


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed(address: str) -> None:
    check_address(ip_address(address), allow_private="none")


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("127.0.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0X7F000001", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("0x7f.0.0x0.1", "127.0.0.1"),
        ("0", "0.0.0.0"),
        ("\uff11\uff12\uff17.\uff10.\uff10.\uff11", "127.0.0.1"),
        ("①②⑦.⓪.⓪.①", "127.0.0.1"),
        ("127。0。0。1", "127.0.0.1"),
        ("127\uff0e0｡0\uff0e1", "127.0.0.1"),
        ("::1", "::1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1"),
        ("::ffff:7f00:1", "::ffff:127.0.0.1"),
    ],
)
def test_every_spelling_of_an_ip_address_is_recognised(host: str, address: str) -> None:
    assert literal(host) == ip_address(address)


@pytest.mark.parametrize("host", ["example.com", "1.2.3.4.example", "127.0.0.1 x", "", ":::", "a"])
def test_a_host_name_is_not_an_ip_address(host: str) -> None:
    assert literal(host) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "a..b",
        "-a.com",
        "a-.com",
        "a b.com",
        "a%2e.com",
        "é.com",
        "a" * 64 + ".com",
        ".".join(["abcdefg"] * 32),
        "1.2.3.256",
        "4294967296",
        "example.0x7f",
        "1.2.3.4.5",
    ],
)
@pytest.mark.parametrize("allow_private", PRIVATE_ADDRESSES)
def test_a_host_that_is_neither_name_nor_address_is_refused(
    name: str, allow_private: PrivateAddresses
) -> None:
    with pytest.raises(InputForbidden):
        check_name(name, allow_private=allow_private)


@pytest.mark.parametrize(
    "name", ["localhost", "localhost.", "a.localhost", "redis", "nas.local", "metadata.internal"]
)
def test_a_local_name_needs_the_settings_permission(name: str) -> None:
    with pytest.raises(InputForbidden):
        check_name(name, allow_private="none")
    check_name(name, allow_private="all")


@pytest.mark.parametrize("name", ["example.com", "example.com.", "xn--bcher-kva.example", "a_b.io"])
def test_a_public_name_is_allowed(name: str) -> None:
    check_name(name, allow_private="none")
