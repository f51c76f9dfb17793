"""Which addresses one set of endpoints lets a name lead to, and another does not: as ranges, not by example."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from holdfast.safety.addresses import CARRIERS, RANGES
from holdfast.sandbox.policy.judging import Connect, Judge
from holdfast.sandbox.policy.openshell import Endpoint

__all__ = ("addresses_between", "carried")

_PUBLIC = "public addresses"


def addresses_between(
    old: Judge, new: Judge, connect: Connect, before: Sequence[Endpoint], after: Sequence[Endpoint]
) -> Iterator[tuple[str, bool, bool]]:
    """Yields ranges as the endpoints write them, with whether the first lets something in them be dialled that the
    other does not, and the other way round.

    Every range whose treatment could differ begins at an edge of one that is written down, in a policy or among those
    that have a meaning of their own; so one address behind each edge is asked about.
    """
    ranges = {each: ip_network(each, strict=False) for one in (*before, *after) for each in one.allowed_ips}
    if {one.allowed_ips for one in before} == {one.allowed_ips for one in after}:
        return
    for number, kind in sorted(_edges((*ranges.values(), *RANGES)), key=str):
        address = kind(number)
        was, will = old.dial(connect, str(address)).allowed, new.dial(connect, str(address)).allowed
        if was != will:
            inside = [text for text, network in ranges.items() if address in network]
            yield min(inside, key=lambda text: ranges[text].num_addresses, default=_PUBLIC), was, will


def carried(endpoints: Iterable[Endpoint]) -> bool:
    """Returns whether a range is written in terms of IPv6 addresses that carry others inside."""
    ranges = (ip_network(each, strict=False) for one in endpoints for each in one.allowed_ips)
    return any(isinstance(each, IPv6Network) and any(map(each.overlaps, CARRIERS)) for each in ranges)


def _edges(ranges: Iterable[object]) -> set[tuple[int, type[IPv4Address] | type[IPv6Address]]]:
    found: set[tuple[int, type[IPv4Address] | type[IPv6Address]]] = {
        (int(ip_address("1.0.0.0")), IPv4Address),
        (int(ip_address("2600::")), IPv6Address),
    }
    for each in ranges:
        network = ip_network(str(each))
        kind = IPv4Address if network.version == 4 else IPv6Address
        found.add((int(network[0]), kind))
        if int(network[-1]) + 1 < 1 << network.max_prefixlen:
            found.add((int(network[-1]) + 1, kind))
    return found
