"""Which IP addresses may be dialled.

Pure: a numeric address goes in, a verdict comes out. Names are not looked up here, because a name means something
else at each look-up; the caller asks about the address it is about to connect to.

The ranges are written down instead of asked of `ipaddress`, whose idea of "global" differs between versions of
Python. IPv4 is public unless listed; IPv6 is public only inside 2000::/3 and unless listed. An IPv4 address carried
inside an IPv6 one gets the verdict of the address inside, whatever carries it.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Literal

import msgspec

from holdfast.errors import AddressBlocked, UsageError

__all__ = ("CARRIERS", "PUBLIC", "RANGES", "TRUSTED", "AddressPolicy", "Verdict", "check", "judge", "may_reach")

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

Verdict = Literal[
    "public",
    "loopback",
    "private",
    "unique-local",
    "shared",
    "link-local",
    "metadata",
    "multicast",
    "broadcast",
    "unspecified",
    "reserved",
]
"""What an address is; `shared` is the carrier-grade range 100.64.0.0/10."""

# A metadata service hands credentials of the machine to whoever asks: first, because some lie in ranges that a
# policy may open.
_METADATA: Final = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",  # most clouds
        "169.254.170.2",  # container credentials
        "169.254.170.23",  # pod credentials
        "100.100.100.200",  # inside the carrier-grade range
        "168.63.129.16",  # looks public, is the host
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "fd00:42::42",
    )
)

_RANGES_V4: Final[tuple[tuple[IPv4Network, Verdict], ...]] = (
    (IPv4Network("0.0.0.0/8"), "unspecified"),
    (IPv4Network("10.0.0.0/8"), "private"),
    (IPv4Network("100.64.0.0/10"), "shared"),
    (IPv4Network("127.0.0.0/8"), "loopback"),
    (IPv4Network("169.254.0.0/16"), "link-local"),
    (IPv4Network("172.16.0.0/12"), "private"),
    (IPv4Network("192.0.0.0/24"), "reserved"),
    (IPv4Network("192.0.2.0/24"), "reserved"),  # documentation
    (IPv4Network("192.88.99.0/24"), "reserved"),  # 6to4 relays, given up
    (IPv4Network("192.168.0.0/16"), "private"),
    (IPv4Network("198.18.0.0/15"), "private"),  # benchmarks; local proxies answer names with it
    (IPv4Network("198.51.100.0/24"), "reserved"),  # documentation
    (IPv4Network("203.0.113.0/24"), "reserved"),  # documentation
    (IPv4Network("224.0.0.0/4"), "multicast"),
    (IPv4Network("255.255.255.255/32"), "broadcast"),
    (IPv4Network("240.0.0.0/4"), "reserved"),
)

_RANGES_V6: Final[tuple[tuple[IPv6Network, Verdict], ...]] = (
    (IPv6Network("::/128"), "unspecified"),
    (IPv6Network("::1/128"), "loopback"),
    (IPv6Network("fc00::/7"), "unique-local"),
    (IPv6Network("fe80::/10"), "link-local"),
    (IPv6Network("ff00::/8"), "multicast"),
    (IPv6Network("2001::/23"), "reserved"),  # protocol assignments
    (IPv6Network("2001:db8::/32"), "reserved"),  # documentation
    (IPv6Network("2002::/16"), "reserved"),  # 6to4
    (IPv6Network("3fff::/20"), "reserved"),  # documentation
    (IPv6Network("2000::/3"), "public"),
    (IPv6Network("::/0"), "reserved"),
)

# Where an IPv4 address sits inside these: how many bits to its right.
_CARRIERS: Final[tuple[tuple[IPv6Network, int], ...]] = (
    (IPv6Network("::ffff:0:0/96"), 0),  # mapped: the kernel dials IPv4
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64
    (IPv6Network("::ffff:0:0:0/96"), 0),  # translated
    (IPv6Network("2002::/16"), 80),  # 6to4
    (IPv6Network("::/96"), 0),  # compatible, given up
)
CARRIERS: Final = tuple(network for network, _ in _CARRIERS)
"""The IPv6 ranges whose addresses have an IPv4 address inside that decides."""
RANGES: Final[tuple[Network, ...]] = (
    *(network for network, _ in _RANGES_V4),
    *(network for network, _ in _RANGES_V6),
    *CARRIERS,
    *(ip_network(each) for each in _METADATA),
)
"""Everything that has a verdict of its own: between the edges of these, all addresses are alike."""
_LEADS_ON: Final = frozenset((IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96")))
_TEREDO: Final = IPv6Network("2001::/32")
_OPENABLE: Final[frozenset[Verdict]] = frozenset(("public", "loopback", "private", "unique-local", "shared"))


class AddressPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Which verdicts may be dialled."""

    name: str
    """As messages call it."""
    verdicts: frozenset[Verdict]
    """Every address of such a verdict may be dialled."""
    ranges: tuple[Network, ...] = ()
    """Ranges opened one by one; link-local, metadata, multicast and reserved addresses in them stay closed."""

    def opening(self, ranges: Iterable[str]) -> AddressPolicy:
        """Returns this policy with some ranges or single addresses opened beside what it allows.

        Raises:
            UsageError: one of them is no address and no range.
        """
        opened = list(self.ranges)
        for text in ranges:
            try:
                opened.append(ip_network(text))
            except ValueError:
                message = f"{text!r} is no IP address or range; write it like '10.1.0.0/16' or 'fd12::/48'"
                raise UsageError(message) from None
        return msgspec.structs.replace(self, ranges=tuple(opened))


PUBLIC: Final = AddressPolicy(name="public", verdicts=frozenset[Verdict](("public",)))
"""Only what the whole internet can reach: for addresses that a model, a page or a redirect names."""

TRUSTED: Final = AddressPolicy(name="trusted", verdicts=_OPENABLE)
"""Also this machine and its private networks: for endpoints that an operator configured."""


def judge(address: str) -> tuple[Verdict, Address]:
    """Returns what a numeric address is, and the address that decided: the one inside, where one is carried.

    Raises:
        ValueError: the text is no numeric address.
    """
    parsed = ip_address(address)
    if isinstance(parsed, IPv4Address):
        return _of_v4(parsed), parsed
    whole = IPv6Address(int(parsed))  # without its zone
    verdict = _of_v6(whole)
    for inner, leads_on in _carried(whole):
        inside = _of_v4(inner)
        if inside != "public" or leads_on:
            return inside, inner
    return verdict, whole


def may_reach(policy: AddressPolicy, address: str) -> bool:
    """Returns whether a policy lets an address be dialled; what is no numeric address never."""
    try:
        verdict, decided = judge(address)
    except ValueError:
        return False
    return _allowed(policy, verdict, decided)


def check(policy: AddressPolicy, address: str, port: int, host: str = "") -> None:
    """Returns when a policy lets an address be dialled; `host` is the name that led to it.

    Raises:
        AddressBlocked: it does not.
    """
    via = f", which {host!r} leads to," if host and host != address else ""
    try:
        verdict, decided = judge(address)
    except ValueError:
        message = f"address {address!r} port {port}{via} is not numeric; connect to an address that was looked up"
        raise AddressBlocked(message) from None
    if _allowed(policy, verdict, decided):
        return
    inside = "" if str(decided) == address else f" (it stands for '{decided}')"
    if verdict in _OPENABLE:
        step = "configure it as an endpoint of your own if you trust it, or use a public address"
    else:
        step = "no policy opens such addresses; use the server's ordinary address"
    message = f"address {address!r} port {port}{via} is {verdict}{inside}, closed to the {policy.name} policy; {step}"
    raise AddressBlocked(message)


def _allowed(policy: AddressPolicy, verdict: Verdict, address: Address) -> bool:
    if verdict in policy.verdicts:
        return True
    return verdict in _OPENABLE and any(address in opened for opened in policy.ranges)


def _of_v4(address: IPv4Address) -> Verdict:
    if address in _METADATA:
        return "metadata"
    for network, verdict in _RANGES_V4:
        if address in network:
            return verdict
    return "public"


def _of_v6(address: IPv6Address) -> Verdict:
    if address in _METADATA:
        return "metadata"
    return next(verdict for network, verdict in _RANGES_V6 if address in network)


def _carried(address: IPv6Address) -> list[tuple[IPv4Address, bool]]:
    """The IPv4 addresses inside, each with whether a packet is led on to it in ordinary networks."""
    number = int(address)
    if number <= 1:
        return []  # unspecified and loopback look like the compatible form
    if address in _TEREDO:  # the server in clear, the client with its bits turned
        inner = (IPv4Address(number >> 64 & 0xFFFFFFFF), IPv4Address(~number & 0xFFFFFFFF))
        return [(each, False) for each in inner]
    return [
        (IPv4Address(number >> shift & 0xFFFFFFFF), network in _LEADS_ON)
        for network, shift in _CARRIERS
        if address in network
    ]
