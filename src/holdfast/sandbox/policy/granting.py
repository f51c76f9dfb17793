"""One endpoint of one network policy, prepared to be asked about often."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import final

from holdfast.sandbox.policy.matching import canonical_host, compile_glob, compile_selector
from holdfast.sandbox.policy.openshell import Endpoint
from holdfast.sandbox.policy.requesting import Requests

__all__ = ("Grant", "Programs", "lies_in")


@final
class Programs:
    """The binaries of one network policy."""

    def __init__(self, paths: Iterable[str]) -> None:
        every = tuple(paths)
        self._exact = frozenset(path for path in every if "*" not in path)
        self._globs = tuple(compile_glob(path, "/") for path in every if "*" in path)

    def any_of(self, binaries: Sequence[str]) -> bool:
        """Returns whether the executable, or one of its ancestors, is among them."""
        if not self._exact.isdisjoint(binaries):
            return True
        return any(glob.fullmatch(each) for glob in self._globs for each in binaries)


@final
class Grant:
    """An endpoint, with the programs it is for."""

    def __init__(self, key: str, endpoint: Endpoint, programs: Programs) -> None:
        self.key = key
        self.endpoint = endpoint
        self.programs = programs
        self.inspected = endpoint.inspected
        self.addresses = tuple(ip_network(each, strict=False) for each in endpoint.allowed_ips)
        self.requests = Requests(endpoint)
        self.weight = len(re.sub(r"[*?]", "", endpoint.path.removesuffix("/**")))
        """How closely its path is described: the closest of several decides."""
        named = endpoint.host and "*" not in endpoint.host
        self.exact = canonical_host(endpoint.host) or endpoint.host.lower() if named else None
        """The only host it is for; None where it is for several."""
        self._hosts = compile_glob(endpoint.host.lower().removesuffix(".") or "**", ".")
        self.tail = self.exact or endpoint.host.lower().removesuffix(".").rpartition("*")[2].partition(".")[2]
        """What its hosts end with, label by label; empty where they have nothing in common."""
        self._paths = compile_selector(endpoint.path)

    def hosts(self, name: str) -> bool:
        """Returns whether it is for a host, in the one spelling of hosts."""
        return name == self.exact if self.exact is not None else self._hosts.fullmatch(name) is not None

    def selects(self, path: str) -> bool:
        """Returns whether it is for a path, in the one spelling of paths."""
        return self._paths.fullmatch(path) is not None


def lies_in(networks: Iterable[IPv4Network | IPv6Network], address: str, inside: IPv4Address | IPv6Address) -> bool:
    """Returns whether an address, or the one that it carries inside, lies in one of the ranges."""
    whole = ip_address(address)
    return any(whole in network or inside in network for network in networks)
