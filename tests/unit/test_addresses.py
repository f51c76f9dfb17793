"""Verdicts on addresses: pure tables, so the tests are tables too."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import AddressBlocked, UsageError
from holdfast.safety.addresses import PUBLIC, TRUSTED, AddressPolicy, check, judge, may_reach

VERDICTS = {
    "loopback": ["127.0.0.1", "127.255.255.254", "::1", "0:0:0:0:0:0:0:1"],
    "unspecified": ["0.0.0.0", "0.1.2.3", "::"],
    "private": ["10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.1.1", "198.18.0.1"],
    "unique-local": ["fc00::1", "fd12:3456::1", "fdff:ffff::"],
    "shared": ["100.64.0.1", "100.127.255.255"],
    "link-local": ["169.254.0.1", "169.254.255.255", "fe80::1", "fe80::1%eth0", "febf::1"],
    "metadata": ["169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "fd00:ec2::254"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "broadcast": ["255.255.255.255"],
    "reserved": [
        "192.0.2.1",
        "198.51.100.7",
        "203.0.113.9",
        "192.0.0.8",
        "192.88.99.1",
        "240.0.0.1",
        "2001:db8::1",
        "3fff::1",
        "100::1",
        "fec0::1",
        "4000::1",
        "64:ff9b:1::a00:1",
    ],
    "public": ["1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "172.32.0.1", "2606:4700::1111", "2a00:1450::1"],
}
NEVER = ("unspecified", "link-local", "metadata", "multicast", "broadcast", "reserved")
OWN = ("loopback", "private", "unique-local", "shared")


def corpus(*verdicts: str) -> list[str]:
    return [address for verdict in verdicts for address in VERDICTS[verdict]]


@pytest.mark.parametrize(("verdict", "address"), [(v, a) for v, many in VERDICTS.items() for a in many])
def test_each_range_has_its_verdict(verdict: str, address: str) -> None:
    assert judge(address)[0] == verdict


@pytest.mark.requirement("safety:guard-loopback-and-unspecified")
@pytest.mark.parametrize("address", corpus("loopback", "unspecified"))
def test_the_public_policy_refuses_loopback_and_unspecified_addresses(address: str) -> None:
    with pytest.raises(AddressBlocked):
        check(PUBLIC, address, 80)


@pytest.mark.requirement("safety:guard-private-ranges")
@pytest.mark.parametrize("address", corpus("private", "unique-local", "shared"))
def test_the_public_policy_refuses_private_ranges(address: str) -> None:
    with pytest.raises(AddressBlocked):
        check(PUBLIC, address, 80)


@pytest.mark.requirement("safety:guard-link-local-and-metadata")
@pytest.mark.parametrize("policy", [PUBLIC, TRUSTED, TRUSTED.opening(["169.254.0.0/16", "fe80::/10", "0.0.0.0/0"])])
@pytest.mark.parametrize("address", corpus("link-local", "metadata"))
def test_no_policy_reaches_link_local_and_metadata_addresses(policy: AddressPolicy, address: str) -> None:
    with pytest.raises(AddressBlocked, match="no policy opens"):
        check(policy, address, 80)


@pytest.mark.requirement("safety:guard-multicast-and-reserved")
@pytest.mark.parametrize("policy", [PUBLIC, TRUSTED])
@pytest.mark.parametrize("address", corpus("multicast", "broadcast", "reserved", "unspecified"))
def test_no_policy_reaches_multicast_broadcast_and_reserved_addresses(policy: AddressPolicy, address: str) -> None:
    with pytest.raises(AddressBlocked):
        check(policy, address, 80)


@pytest.mark.requirement("safety:guard-public-passes")
@pytest.mark.parametrize("address", corpus("public"))
def test_both_policies_reach_public_addresses(address: str) -> None:
    check(PUBLIC, address, 443)
    check(TRUSTED, address, 443)


@pytest.mark.parametrize("address", corpus(*OWN))
def test_the_trusted_policy_reaches_this_machine_and_its_private_networks(address: str) -> None:
    check(TRUSTED, address, 8080)


@pytest.mark.requirement("safety:guard-mapped-forms")
@pytest.mark.parametrize("inner", corpus("loopback", "private", "shared", "metadata", "link-local", "multicast"))
def test_an_address_carried_inside_another_gets_the_verdict_of_the_one_inside(inner: str) -> None:
    address = ipaddress.ip_address(inner.partition("%")[0])
    if not isinstance(address, ipaddress.IPv4Address):
        return
    number, six = int(address), ipaddress.IPv6Address
    carriers = [
        six(0xFFFF << 32 | number),
        six(0xFFFF0000 << 32 | number) if number else six("::1"),
        six(number),
        six(int(six("64:ff9b::")) | number),
        six(0x2002 << 112 | number << 80 | 1),
        six(0x20010000 << 96 | 0x08080808 << 64 | (~number & 0xFFFFFFFF)),
        six(0x20010000 << 96 | number << 64 | 0xF7F7F7F7),
    ]
    expected = judge(inner)[0]
    for carrier in carriers:
        assert judge(str(carrier)) == (expected, address)
        assert not may_reach(PUBLIC, str(carrier))


def test_ways_into_the_public_network_pass_only_where_networks_use_them() -> None:
    assert may_reach(PUBLIC, "::ffff:8.8.8.8")
    assert may_reach(PUBLIC, "64:ff9b::808:808")
    assert not may_reach(PUBLIC, "2002:808:808::1")
    assert not may_reach(PUBLIC, "::8.8.8.8")


@pytest.mark.requirement("safety:guard-opt-in-is-exact")
def test_opening_a_range_opens_that_range_and_nothing_beside_it() -> None:
    policy = PUBLIC.opening(["10.1.0.0/16", "192.168.7.7", "fd12::/48"])
    for inside in ("10.1.0.0", "10.1.255.255", "192.168.7.7", "::ffff:10.1.2.3", "fd12::9", "8.8.8.8"):
        check(policy, inside, 80)
    for outside in ("10.2.0.0", "10.0.255.255", "192.168.7.8", "fd12:0:1::1", "127.0.0.1", "100.64.0.1"):
        with pytest.raises(AddressBlocked):
            check(policy, outside, 80)
    assert PUBLIC.ranges == ()


def test_opening_what_is_no_range_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'10\.1\.0\.0/99'"):
        PUBLIC.opening(["10.1.0.0/99"])


@pytest.mark.requirement("safety:guard-odd-spellings")
@pytest.mark.parametrize("text", ["0177.0.0.1", "0x7f.1", "127.1", "2130706433", "localhost", "", "1.1.1.1 ", "[::1]"])
def test_only_a_plain_numeric_address_is_ever_dialled(text: str) -> None:
    assert not may_reach(TRUSTED, text)
    with pytest.raises(AddressBlocked, match="not numeric"):
        check(TRUSTED, text, 80)


def test_the_refusal_names_address_port_host_reason_and_what_to_do() -> None:
    with pytest.raises(AddressBlocked) as refused:
        check(PUBLIC, "::ffff:10.0.0.7", 8080, "intranet.example")
    for part in ("'::ffff:10.0.0.7'", "8080", "'intranet.example'", "private", "'10.0.0.7'", "configure it"):
        assert part in str(refused.value)


@given(st.ip_addresses())
def test_nothing_private_to_the_standard_library_is_public_here(address: ipaddress.IPv4Address) -> None:
    verdict, decided = judge(str(address))
    if verdict == "public":
        assert decided.is_global
