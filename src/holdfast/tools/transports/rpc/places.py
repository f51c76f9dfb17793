"""Where a gRPC service stands: its address as it is declared, and the numbers that may be dialled for it.

A name is looked up and judged here, and the channel is given numbers alone: gRPC looks nothing up by itself, so a name
that leads elsewhere a moment later changes nothing, and every number that is dialled has passed the guard.
"""

from __future__ import annotations

from typing import Final

import msgspec
from yarl import URL

from holdfast.errors import UsageError
from holdfast.net.settings import Resolve
from holdfast.safety.addresses import AddressPolicy

__all__ = ("Place", "numbers_of", "place_of")

_PORTS: Final = {"grpc": None, "grpcs": 443}
_HOW = "write it like 'grpcs://tools.example.com:443', or 'grpc://10.0.0.7:50051' without TLS"


class Place(msgspec.Struct, frozen=True, gc=False):
    """A host and a port, and whether TLS is spoken there."""

    host: str
    port: int
    secure: bool

    @property
    def authority(self) -> str:
        """What the service is told that it is called; of a plain IPv6 address with its brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{'grpcs' if self.secure else 'grpc'}://{self.authority}"


def place_of(address: str) -> Place:
    """Returns where an address leads; the port of `grpcs` is 443 where none is named.

    Raises:
        UsageError: it is none, or has more in it than a host and a port.
    """
    try:
        url = URL(address)
        host, port = (url.raw_host or "").rstrip("."), url.explicit_port
    except ValueError:
        raise UsageError(f"that is no address of a gRPC service; {_HOW}") from None
    if url.scheme not in _PORTS:
        raise UsageError(f"the scheme {url.scheme!r} is none of gRPC; {_HOW}")
    if url.raw_user is not None or url.raw_password is not None:
        raise UsageError(
            f"the address of {host!r} has a user name in it; declare how the tool is authenticated instead"
        )
    if url.raw_path not in ("", "/") or url.raw_query_string or url.raw_fragment:
        raise UsageError(f"the address of {host!r} has a path in it; name the method apart from it, and {_HOW}")
    port = _PORTS[url.scheme] if port is None else port
    if not host or not port:
        raise UsageError(f"the address has no host or no port; {_HOW}")
    return Place(host, port, url.scheme == "grpcs")


async def numbers_of(place: Place, policy: AddressPolicy, resolve: Resolve | None, seconds: float) -> tuple[str, ...]:
    """Returns the numeric addresses of a place that may be dialled.

    Raises:
        AddressBlocked: it has some, and none of them may.
        OSError: it has none, or nobody answered in time.
    """
    from holdfast.net.guarding import GuardedResolver  # noqa: PLC0415 - it loads the HTTP library

    try:
        found = await GuardedResolver(policy, resolve, seconds).resolve(place.host, place.port)
    except UnicodeError:  # what no name server could be asked for
        raise OSError(f"the name {place.host!r} is none that can be looked up") from None
    return tuple(dict.fromkeys(each["host"] for each in found))
