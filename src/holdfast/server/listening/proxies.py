"""Whose word about where a request comes from is believed: addresses, and networks of them."""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Iterable
from typing import final

from holdfast.errors import UsageError

__all__ = ("Proxies",)


@final
class Proxies(Container[str]):
    """Addresses of proxies; over a socket file, whoever is there."""

    def __init__(self, named: Iterable[str] = (), *, unix: bool = False) -> None:
        """Takes addresses (`10.0.0.7`) and networks (`10.0.0.0/8`).

        Raises:
            UsageError: one is neither.
        """
        self._unix = unix
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for each in named:
            try:
                self._networks.append(ipaddress.ip_network(each.strip(), strict=False))
            except ValueError:
                raise UsageError(
                    f"{each!r} is no address of a proxy: write one, as 10.0.0.7, or a network, as 10.0.0.0/8"
                ) from None

    def __contains__(self, address: object) -> bool:
        """Whether it is a proxy's."""
        if not isinstance(address, str) or not self._networks:
            return address == "" and self._unix
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return address == "" and self._unix
        plain = getattr(found, "ipv4_mapped", None) or found
        return any(plain in each for each in self._networks if each.version == plain.version)
