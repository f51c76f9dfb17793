"""Rates: how often something may happen, by whom.

Each name has a bucket that fills steadily and from which each time takes one. Of a bucket only the moment is kept at
which it will be full again (the generic cell rate algorithm), so that one that is full is none, and a million of
people who came once cost nothing. At most so many are remembered; the oldest go first.
"""

from __future__ import annotations

import ipaddress
import math
from typing import Final, final

import msgspec

from holdfast.flow.clock import Clock

__all__ = ("Buckets", "Rate", "client_name", "whole_seconds")

_MOST: Final = 65_536
_NEARLY: Final = 1e-6
"""Seconds that are none: so much is lost where numbers are rounded."""
_SWEPT: Final = 8
"""Names that are looked at with each new one, to let go of those whose buckets are full."""


class Rate(msgspec.Struct, frozen=True):
    """So many in a second on average, and so many at once."""

    each_second: float
    burst: float


@final
class Buckets:
    """Buckets by name."""

    def __init__(self, clock: Clock, most: int = _MOST) -> None:
        self._clock = clock
        self._most = most
        self._full_at: dict[str, float] = {}

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._full_at)

    def wait(self, name: str, rate: Rate) -> float:
        """Returns the seconds until one more is there; 0 for at once. It takes none."""
        now = self._clock.monotonic()
        full = max(self._full_at.get(name, now), now)
        seconds = full - now - (rate.burst - 1) / rate.each_second
        return seconds if seconds > _NEARLY else 0.0

    def take(self, name: str, rate: Rate) -> float:
        """Takes one, where there is one; returns the seconds until there is, 0 where one was taken."""
        if (seconds := self.wait(name, rate)) > 0:
            return seconds
        now = self._clock.monotonic()
        full = max(self._full_at.pop(name, now), now) + 1 / rate.each_second
        self._sweep(now)
        self._full_at[name] = full
        return 0.0

    def _sweep(self, now: float) -> None:
        oldest = iter(list(zip(self._full_at.items(), range(_SWEPT), strict=False)))
        for (name, full), _ in oldest:
            if full <= now or len(self._full_at) >= self._most:
                del self._full_at[name]


def client_name(client: str) -> str:
    """Returns by what a client is counted: its address, or the network of an IPv6 address, of which everybody has as
    many as they like. What is no address counts as one client, for a proxy may have been told anything.
    """
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def whole_seconds(seconds: float) -> str:
    """Returns for `retry-after` after how many whole seconds it is sure to be over."""
    return str(max(1, math.ceil(seconds - _NEARLY)))
